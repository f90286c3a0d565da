"""Find, prove and wake the culture neurons of multilingual text-to-image models.

>>> import interp
>>> model = interp.load("pocket")
>>> bench = interp.benchmark("pocket")
>>> layers = interp.find_layers(model, bench)
>>> sae = interp.train_sae(model, bench, layer=layers.peak)
>>> neurons = interp.find_neurons(model, sae, bench)
>>> interp.ablate(neurons, random_control=True)

Names are imported when first used, so that `import interp` stays light.
"""

from pathlib import Path
from types import ModuleType

import lazy_loader

from interp import session as session
from interp import views

__version__ = "0.1.0"
_lazy, _names, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted([*__all__, "__version__"])


def __getattr__(name: str) -> object:
    if name not in __all__ and name not in _names():
        raise AttributeError(f"module 'interp' has no attribute {name!r}; it has: {', '.join(__all__)}")
    return _lazy(name)


def __dir__() -> list[str]:
    return __all__


def save(value: object, folder: str | Path, manifest: object = None) -> Path:
    """Keep a value in a folder; see `interp.experiments.files.save`."""
    # not lazy like the others: nnsight gives every object a method `save`, and a module's own name goes first
    from interp.experiments import files

    return files.save(value, folder, manifest)  # type: ignore[arg-type]


def _report() -> ModuleType:
    from interp import report

    return report


views.provide(_report)
