"""Pictures of each culture neuron, for its page: without it on culture-style prompts, with it up on noun-only ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import TEST, in_rounds
from interp.errors import InterpError
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
"""Prompts of a latent's pictures, each of another noun."""


def pictures(
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

    A latent of several sets is shown for the culture of its largest WFS. The pictures of the prompts as they are, are
    drawn once a culture.

    Args:
        model: the adapter.
        bench: the benchmark of the neurons.
        neurons: from `find_neurons`.
        split: the prompts' split; the one of the selection is refused.
        strength: what a latent is set up to, in multiples of its usual magnitude μ_cult.
        seed: of the pictures.
        steps: of the sampler; None for the model's.
        progress: show a bar.

    Raises:
        InterpError: the split is the one the neurons were selected on; model or benchmark is not theirs.
    """
    check_model(neurons.sae, model.encoder_digest)
    if split == neurons.split:
        raise InterpError(f"the neurons were selected on split {split!r}; draw prompts of another, such as 'test'")
    found, owned = bench_of(neurons, bench), owners(neurons)
    sets = {c: [i for i, owner in owned.items() if owner == c] for c in neurons.cultures}
    out: dict[int, Shots] = {}
    for culture in [c for c in sets if sets[c]]:
        samples = in_rounds(found.samples(split, [culture]), seed)[:NOUNS]
        stage = _Stage(model, samples, neurons[culture], seed, steps, progress)
        out |= stage.shots(sets[culture], neurons.settings.get("codes", "topk"), strength)
    return out


def owners(neurons: Neurons) -> dict[int, str]:
    """The culture of each latent: of those whose sets hold it, the one of its largest WFS."""
    held: dict[int, list[str]] = {}
    for culture, chosen in neurons.sets.items():
        for i in chosen.indices:
            held.setdefault(i, []).append(culture)
    rank: Mapping[str, int] = {c: n for n, c in enumerate(neurons.cultures)}
    return {i: max(cultures, key=lambda c: neurons.wfs[rank[c], i]) for i, cultures in held.items()}


def alone(chosen: NeuronSet, latent: int) -> NeuronSet:
    """One latent of a set as a set of its own."""
    at = chosen.indices.index(latent)
    return NeuronSet(f"latent {latent}", (latent,), (chosen.magnitude[at],), (chosen.baseline[at],), chosen.sae)


@dataclass(frozen=True)
class _Stage:
    """The prompts of one culture."""

    model: Adapter
    samples: Sequence[Sample]
    chosen: NeuronSet
    seed: int
    steps: int | None
    progress: bool

    def shots(self, latents: Sequence[int], codes: Codes, strength: float) -> dict[int, Shots]:
        """Every latent off on culture-style prompts and up on noun-only ones."""
        sets = [alone(self.chosen, i) for i in latents]
        off = self._drawn("culture_style", [None, *(Mask(one, codes=codes) for one in sets)])
        up = self._drawn("noun_only", [None, *(Steer(one, strength) for one in sets)])
        names = ("culture-style, off", "noun-only, up")
        return {
            i: Shots(
                self.chosen.label,
                strength,
                self._grid(names[0], "culture_style", {"as it is": off[0], "latent off": off[n]}),
                self._grid(names[1], "noun_only", {"as it is": up[0], "latent up": up[n]}),
            )
            for n, i in enumerate(latents, 1)
        }

    def _drawn(self, kind: str, edits: Sequence[Intervention | None]) -> list[list[np.ndarray]]:
        """Of every edit the pictures of all prompts."""
        prompts, many = texts(self.samples, kind) * len(edits), len(self.samples)
        plans = [edit for edit in edits for _ in self.samples]
        seeds = [seed_of(s.id, self.seed) for s in self.samples] * len(edits)
        given = generate.encode(self.model, prompts, plans)
        label = f"{self.chosen.label}, {kind}"
        drawn = list(generate.render(self.model, given, seeds, self.steps, label=label, progress=self.progress))
        return [drawn[n : n + many] for n in range(0, len(drawn), many)]

    def _grid(self, title: str, kind: str, arms: Mapping[str, Sequence[np.ndarray]]) -> Grid:
        languages = [s.language for s in self.samples]
        return Grid.of(title, arms, texts(self.samples, kind), languages, texts(self.samples, f"{kind}_en"))
