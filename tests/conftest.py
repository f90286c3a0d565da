import beartype  # noqa: F401, I001 - before nnsight, which mounts `.save` on `object` and breaks this import

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import pytest
import torch

# one thread a worker of pytest-xdist, else both cores
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
# A busy machine is no failure.
hypothesis.settings.register_profile("interp", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("interp")


FIRST = (
    "experiments/test_study", "test_half_precision", "test_device", "models/test_contract",
    "metrics/judges/test_remote", "test_notebooks", "experiments/test_run", "cli/test_main",
    "interventions/test_enhancer_training", "activations/test_capture", "models/test_families_parity",
)  # fmt: skip
"""Files that take longest: begun first, so that no worker is left alone with one at the end."""


def pytest_collection_modifyitems(items):
    tests = Path(__file__).parent
    place = {name: n for n, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.relative_to(tests).with_suffix("").as_posix(), len(FIRST)))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A tiny AltDiffusion m18 of the real classes."""
    import tiny

    return tiny.load(tmp_path_factory.mktemp("m18") / "model")


@pytest.fixture(scope="session")
def tiny_m9(tmp_path_factory):
    """The same as m9."""
    import tiny

    return tiny.load(tmp_path_factory.mktemp("m9") / "model", pre=False)


@pytest.fixture(scope="session")
def small_bench(tmp_path_factory):
    """Four concepts of each culture and split of the pocket benchmark, two samples each."""
    import tiny

    return tiny.bench(tmp_path_factory.mktemp("bench") / "small")


@pytest.fixture(scope="session")
def pairs(small_bench):
    """Its detection pairs, a few of each culture."""
    return small_bench.pairs("detection")[::3]


@pytest.fixture(scope="session")
def tiny_sae(tiny_model, small_bench, tmp_path_factory):
    """An SAE on the tiny model's residual stream at layer 1."""
    from interp import SaeSettings, train_sae

    settings = SaeSettings(steps=40, batch=256, k=8)
    folder = tmp_path_factory.mktemp("saes")
    return train_sae(tiny_model, small_bench, 1, "resid", settings=settings, folder=folder, progress=False)


@pytest.fixture(scope="session")
def tiny_neurons(tiny_model, tiny_sae, small_bench):
    """Four latents a culture."""
    from interp import Rule, find_neurons

    rule = Rule(k=4, tau=None)
    return find_neurons(tiny_model, tiny_sae, small_bench, rule, progress=False)
