"""Draw a benchmark's prompts into a folder, as one system of a comparison; resumes where it stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp import store
from interp.activations import capture
from interp.benchmarks.benchmark import Benchmark
from interp.errors import InterpError
from interp.experiments.controls import maker
from interp.experiments.run import wake_recipe
from interp.experiments.setup import check_kind, seed_of, texts
from interp.interventions import generate
from interp.interventions.edits import Plan
from interp.metrics import image_folder
from interp.models.adapter import Adapter
from interp.models.records import Conditioned
from interp.types import Neurons, Sample


def draw(
    model: Adapter,
    bench: Benchmark,
    out: Path,
    split: str = "test",
    per_culture: int | None = None,
    prompts: str = "noun_only",
    neurons: Neurons | None = None,
    recipe: Mapping[str, Any] | None = None,
    pictures: int = 1,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    progress: bool = True,
) -> Path:
    """Draw every sample of a split as `<sample>.png`, or `<sample>-<number>.png` if there are several of each.

    Seeds are those of the experiments: they follow from the sample's name, so all systems share their noise.

    Args: `prompts` is one of `setup.KINDS`; `neurons` drive each sample's own culture's, by `recipe` (intervention,
        strength, codes; the model's if None); `pictures` of each sample have the seeds `seed`, `seed` + 1, …; a
        `guidance` of 1 is none. Images that are in `out` are kept if they were drawn with the same settings.

    Raises:
        InterpError: unknown prompts or split, no image asked, neurons selected on this split, an image that would
            have the name of another sample's, or the folder holds images of another run.
    """
    check_kind(prompts)
    if pictures < 1:
        raise InterpError(f"{pictures} pictures of each sample asked; ask for at least one")
    if neurons is not None and neurons.split == split:
        raise InterpError(f"the neurons were selected on split {split!r}; draw another, such as 'test'")
    samples = (bench if per_culture is None else bench.subset(split, per_culture, 0)).samples(split)
    image_folder.check_numbers([s.id for s in samples], [s.id for s in bench.rows], pictures)
    plans = _plans(model, samples, neurons, recipe)
    settings = {
        "model": model.identity, "benchmark": bench.digest, "prompts": prompts, "pictures": pictures, "seed": seed,
        "steps": steps, "guidance": guidance, "plans": _digest(plans),
    }  # fmt: skip
    digests = {"model_digest": model.model_digest, "benchmark_digest": bench.digest, "device": str(model.device)}
    manifest = store.new_manifest("interp draw", stage="draw", config=settings, seeds={"images": seed}, **digests)
    with store.run_folder(out, manifest):
        conditioning = generate.encode(model, texts(samples, prompts), plans, progress=progress)
        folder = _Folder(out, store.Journal(out / "drawn.jsonl", settings), model, samples, conditioning)
        for number in range(pictures):
            for rows in capture.batches(len(samples), model.images_at_once, f"{out.name} {number}", progress):
                folder.draw(rows, number, pictures > 1, seed, steps, guidance)
    return out


@dataclass(frozen=True)
class _Folder:
    """A folder of drawn samples."""

    out: Path
    journal: store.Journal
    """Of the images that are drawn."""
    model: Adapter
    samples: Sequence[Sample]
    conditioning: Conditioned

    def draw(
        self, rows: Sequence[int], number: int, several: bool, seed: int, steps: int | None, guidance: float | None
    ) -> None:
        """Draw those of a batch that are missing, with the seeds of their number."""
        name = number if several else None
        ids = {i: self.samples[i].id for i in rows}
        keys = {i: f"{ids[i]}/{number}" for i in rows}
        drawn = {i for i in rows if keys[i] in self.journal}
        todo = [i for i in rows if i not in drawn or not image_folder.place(self.out, ids[i], name).is_file()]
        if not todo:
            return
        seeds = [seed_of(ids[i], seed + number) for i in todo]
        images = generate.draw(self.model, self.conditioning.rows(todo), seeds, steps, guidance)
        for i, image in zip(todo, images, strict=True):
            image_folder.write(self.out, ids[i], image, name)
        self.journal.record_all({keys[i]: True for i in todo if i not in drawn})


def _plans(
    model: Adapter, samples: Sequence[Sample], neurons: Neurons | None, recipe: Mapping[str, Any] | None
) -> list[Plan]:
    """Each sample under its own culture's neurons, or alone."""
    if neurons is None:
        return [Plan()] * len(samples)
    make = maker(**(recipe or wake_recipe(model)))
    return [Plan.of(make(neurons[s.culture])) for s in samples]


def _digest(plans: Sequence[Plan]) -> str:
    """Of all that the plans do: their labels do not tell two sets of one culture apart."""
    different = {plan: plan.to_json() for plan in dict.fromkeys(plans)}
    return store.sha256_bytes("\n".join(different[plan] for plan in plans).encode())
