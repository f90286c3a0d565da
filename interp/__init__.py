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

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.discovery import find_layers as find_layers
    from interp.discovery import find_neurons as find_neurons
    from interp.discovery import scan_pictures as scan_pictures
    from interp.discovery import train_sae as train_sae
    from interp.drawing import draw as draw
    from interp.errors import InterpError as InterpError
    from interp.errors import InterpWarning as InterpWarning
    from interp.evaluation import compare as compare
    from interp.evaluation import measure as measure
    from interp.experiment import Steered as Steered
    from interp.experiment import Sweep as Sweep
    from interp.experiment import ablate as ablate
    from interp.experiment import amplify as amplify
    from interp.experiment import enhance as enhance
    from interp.experiment import off_target as off_target
    from interp.experiment import steer as steer
    from interp.experiment import sweep as sweep
    from interp.experiment import tune_strength as tune_strength
    from interp.experiment import wake as wake
    from interp.finetuning import EnhancerSettings as EnhancerSettings
    from interp.finetuning import train_enhancer as train_enhancer
    from interp.generation import edited as edited
    from interp.generation import encode as encode
    from interp.generation import generate as generate
    from interp.interventions import Amplify as Amplify
    from interp.interventions import Enhance as Enhance
    from interp.interventions import Mask as Mask
    from interp.interventions import Plan as Plan
    from interp.interventions import Steer as Steer
    from interp.neurons import Rule as Rule
    from interp.publishing import publish as publish
    from interp.sae import SaeSettings as SaeSettings
    from interp.types import Comparison as Comparison
    from interp.types import Effect as Effect
    from interp.types import LayerScores as LayerScores
    from interp.types import Measured as Measured
    from interp.types import Neurons as Neurons
    from interp.types import NeuronSet as NeuronSet
    from interp.types import Site as Site
    from interp.workspace import benchmark as benchmark
    from interp.workspace import load as load
    from interp.workspace import load_enhancer as load_enhancer
    from interp.workspace import load_neurons as load_neurons
    from interp.workspace import load_sae as load_sae

__version__ = "0.1.0"

_HOME = {
    "drawing": ("draw",),
    "errors": ("InterpError", "InterpWarning"),
    "evaluation": ("compare", "measure"),
    "discovery": ("find_layers", "find_neurons", "scan_pictures", "train_sae"),
    "experiment": (
        "Steered",
        "Sweep",
        "ablate",
        "amplify",
        "enhance",
        "off_target",
        "steer",
        "sweep",
        "tune_strength",
        "wake",
    ),
    "finetuning": ("EnhancerSettings", "train_enhancer"),
    "generation": ("edited", "encode", "generate"),
    "interventions": ("Amplify", "Enhance", "Mask", "Plan", "Steer"),
    "neurons": ("Rule",),
    "publishing": ("publish",),
    "sae": ("SaeSettings",),
    "types": ("Comparison", "Effect", "LayerScores", "Measured", "NeuronSet", "Neurons", "Site"),
    "workspace": ("benchmark", "load", "load_enhancer", "load_neurons", "load_sae"),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted([*_WHERE, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'interp' has no attribute {name!r}; it has: {', '.join(sorted(_WHERE))}")
    value = getattr(import_module(f"interp.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
