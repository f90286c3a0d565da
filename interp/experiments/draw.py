"""Draw a benchmark's prompts into a folder, as one system of a comparison; resumes where it stopped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interp import store
from interp.activations import capture
from interp.benchmarks.benchmark import Benchmark
from interp.errors import InterpError
from interp.experiments import controls
from interp.experiments.setup import seed_of, texts
from interp.interventions import generate
from interp.interventions.edits import Plan
from interp.metrics import image_folder
from interp.models.adapter import Adapter
from interp.types import Neurons

KINDS = ("noun_only", "culture_style", "noun_only_en", "culture_style_en")
"""Noun-only and culture-style prompts, native and English."""


def draw(
    model: Adapter,
    bench: Benchmark,
    out: Path,
    split: str = "test",
    per_culture: int | None = None,
    prompts: str = "noun_only",
    neurons: Neurons | None = None,
    recipe: dict[str, Any] | None = None,
    pictures: int = 1,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    progress: bool = True,
) -> Path:
    """Draw every sample of a split as `<sample>.png`, or `<sample>-<number>.png` if there are several of each.

    Seeds are those of the experiments: they follow from the sample's name, so all systems share their noise.

    Args:
        model: the adapter.
        bench: whose prompts.
        out: folder; pictures that are there already are kept, if they were drawn with the same settings.
        split: of the benchmark.
        per_culture: samples a culture; all if None.
        prompts: `noun_only`, `culture_style`, `noun_only_en` or `culture_style_en`.
        neurons: drive each sample's own culture's set; None to leave the model alone.
        recipe: intervention, strength, codes; the model's for waking if None.
        pictures: of each sample.
        seed: of the first picture; the others follow.
        steps: of the sampler; the model's if None.
        guidance: the model's if None; 1 for none.
        progress: show bars.

    Raises:
        InterpError: unknown prompts or split, no picture asked, neurons selected on this split, a picture that would
            have the name of another sample's, or the folder holds pictures of another run.
    """
    check_prompts(prompts)
    if pictures < 1:
        raise InterpError(f"{pictures} pictures of each sample asked; ask for at least one")
    if neurons is not None and neurons.split == split:
        raise InterpError(f"the neurons were selected on split {split!r}; draw another, such as 'test'")
    samples = (bench if per_culture is None else bench.subset(split, per_culture, 0)).samples(split)
    image_folder.check_numbers([s.id for s in samples], [s.id for s in bench.rows], pictures)
    plans = [Plan()] * len(samples)
    chosen = dict(recipe or model.recipe.get("wake", {"intervention": "amplify", "strength": 6, "codes": "topk"}))
    if neurons is not None:
        make = controls.maker(**chosen)
        plans = [Plan.of(make(neurons[s.culture])) for s in samples]
    said = {
        "model": model.identity, "benchmark": bench.digest, "prompts": prompts, "pictures": pictures, "seed": seed,
        "steps": steps, "guidance": guidance, "plans": _digest(plans),
    }  # fmt: skip
    digests = {"model_digest": model.model_digest, "benchmark_digest": bench.digest, "device": str(model.device)}
    begun = store.new_manifest("interp draw", stage="draw", config=said, seeds={"images": seed}, **digests)
    with store.run_folder(out, begun):
        journal = store.Journal(out / "drawn.jsonl", said)
        conditioning = generate.encode(model, texts(samples, prompts), plans, progress=progress)
        for number in range(pictures):
            for rows in capture.batches(len(samples), model.images_at_once, f"{out.name} {number}", progress):
                places = {i: image_folder.place(out, samples[i].id, number if pictures > 1 else None) for i in rows}
                keys = {i: f"{samples[i].id}/{number}" for i in rows}
                todo = [i for i in rows if keys[i] not in journal or not places[i].is_file()]
                if todo:
                    seeds = [seed_of(samples[i].id, seed + number) for i in todo]
                    drawn = generate.render(model, conditioning.rows(todo), seeds, steps, guidance)
                    for i, picture in zip(todo, drawn, strict=True):
                        image_folder.write(out, samples[i].id, picture, number if pictures > 1 else None)
                    journal.record_all({keys[i]: True for i in todo if keys[i] not in journal})
    return out


def _digest(plans: Sequence[Plan]) -> str:
    """Of all that the plans do: their labels do not tell two sets of one culture apart."""
    different = {plan: plan.to_json() for plan in dict.fromkeys(plans)}
    return store.sha256_bytes("\n".join(different[plan] for plan in plans).encode())


def check_prompts(prompts: str) -> None:
    """Refuse an unknown kind of prompts.

    Raises:
        InterpError: with the known ones.
    """
    if prompts not in KINDS:
        raise InterpError(f"prompts {prompts!r}; known: {', '.join(KINDS)}")
