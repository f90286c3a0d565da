"""One model folder for the tests of what reads folders: real classes at tiny size, every tensor random."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from components import make

from interp.models.files import INDEX


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The models and the folder they were saved to."""
    from diffusers import DPMSolverMultistepScheduler

    place, models = tmp_path_factory.mktemp("whole") / "model", make()
    for name, model in models.items():
        model.save_pretrained(place / name)
    DPMSolverMultistepScheduler(solver_order=3).save_pretrained(place / "scheduler")
    index = {"_class_name": "SomePipeline", **{n: ["library", "Class"] for n in (*models, "scheduler")}}
    (place / INDEX).write_text(json.dumps(index))
    return SimpleNamespace(folder=place, models=models)


@pytest.fixture
def copy(whole, tmp_path):
    """The folder, to be damaged."""
    return Path(shutil.copytree(whole.folder, tmp_path / "model"))
