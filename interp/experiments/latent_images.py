"""Images of each culture neuron, for its page: without it on culture-style prompts, with it up on noun-only ones."""

from collections.abc import Mapping, Sequence

import numpy as np

from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import TEST, in_rounds
from interp.errors import InterpError
from interp.experiments.images import prompt_grid
from interp.experiments.inputs import bench_of
from interp.experiments.setup import seed_of, texts
from interp.grids import Grid, Shots
from interp.interventions import generate
from interp.interventions.edits import Intervention, Mask, Steer
from interp.latents.sae import check_model
from interp.models.adapter import Adapter
from interp.types import Codes, Neurons, NeuronSet, Sample

STRENGTH = 6.0
"""What a latent alone is set up to, in multiples of μ: a set of sixteen needs 0.6 to 1 (the pocket model's recipe)."""
NOUNS = 2
"""Prompts of a latent's images, each of another noun."""


def latent_shots(
    model: Adapter,
    bench: Benchmark,
    neurons: Neurons,
    split: str = TEST,
    strength: float = STRENGTH,
    seed: int = 0,
    steps: int | None = None,
    progress: bool = True,
) -> dict[int, Shots]:
    """Of every latent of every set: prompts of one culture that holds it, as they are, without it and with it up.

    A latent of several sets is shown for the culture of its largest WFS. The images of the prompts as they are, are
    drawn once per culture.

    Args:
        model: the adapter.
        bench: the benchmark of the neurons.
        neurons: from `find_neurons`.
        split: the prompts' split; the one of the selection is refused.
        strength: what a latent is set up to, in multiples of its usual magnitude μ_cult.
        seed: of the images.
        steps: of the sampler; None for the model's.
        progress: show a bar.

    Raises:
        InterpError: the split is the one the neurons were selected on; model or benchmark is not theirs.
    """
    check_model(neurons.sae, model.encoder_digest)
    if split == neurons.split:
        raise InterpError(f"the neurons were selected on split {split!r}; draw prompts of another, such as 'test'")
    bench = bench_of(neurons, bench)
    culture_of, shots = owners(neurons), dict[int, Shots]()
    codes: Codes = neurons.settings.get("codes", "topk")
    for culture in neurons.cultures:
        singles = [alone(neurons[culture], i) for i, owner in culture_of.items() if owner == culture]
        if not singles:
            continue
        samples = in_rounds(bench.samples(split, [culture]), seed)[:NOUNS]
        masks, steers = [Mask(one, codes=codes) for one in singles], [Steer(one, strength) for one in singles]
        off = _grids(
            model, samples, "culture_style", masks, ("culture-style, off", "latent off"), seed, steps, progress
        )
        up = _grids(model, samples, "noun_only", steers, ("noun-only, up", "latent up"), seed, steps, progress)
        for one, without, more in zip(singles, off, up, strict=True):
            shots[one.indices[0]] = Shots(culture, strength, without, more)
    return shots


def owners(neurons: Neurons) -> dict[int, str]:
    """The culture of each latent: of those whose sets hold it, the one of its largest WFS."""
    held: dict[int, list[str]] = {}
    for culture, members in neurons.sets.items():
        for i in members.indices:
            held.setdefault(i, []).append(culture)
    rank: Mapping[str, int] = {c: n for n, c in enumerate(neurons.cultures)}
    return {i: max(cultures, key=lambda c: neurons.wfs[rank[c], i]) for i, cultures in held.items()}


def alone(members: NeuronSet, latent: int) -> NeuronSet:
    """One latent of a set as a set of its own."""
    at = members.indices.index(latent)
    return NeuronSet(f"latent {latent}", (latent,), (members.magnitude[at],), (members.baseline[at],), members.sae)


def _grids(
    model: Adapter,
    samples: Sequence[Sample],
    prompts: str,
    edits: Sequence[Intervention],
    names: tuple[str, str],
    seed: int,
    steps: int | None,
    progress: bool,
) -> list[Grid]:
    """Of every edit a grid: the samples' images as they are, and under it; all are drawn in one go."""
    title, column = names
    many = len(samples)
    plans = [edit for edit in (None, *edits) for _ in samples]
    conditioning = generate.encode(model, texts(samples, prompts) * (1 + len(edits)), plans)
    seeds = [seed_of(s.id, seed) for s in samples] * (1 + len(edits))
    label = f"{samples[0].culture}, {prompts}"
    images: list[np.ndarray] = list(generate.draw(model, conditioning, seeds, steps, label=label, progress=progress))
    plain = images[:many]
    return [
        prompt_grid(title, {"as it is": plain, column: images[n * many : (n + 1) * many]}, samples, prompts)
        for n in range(1, len(edits) + 1)
    ]
