"""The whole method on one model: how much of it is measured, and with what. Its parts are in `parts`.

    study = Study.named(model, bench, "quick")
    study.ask(parts.ablated)                    # an Effect

A part is measured when it is first asked for. Every stage keeps what it finished in the cache, so that an interrupted
run goes on where it stopped, and a part that two exhibits share is measured once.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

from interp.benchmarks.benchmark import Benchmark
from interp.benchmarks.splits import TEST
from interp.experiments.setup import Setup, default_judge
from interp.metrics import registry
from interp.metrics.judges.base import Judge
from interp.models.adapter import Adapter

Part = TypeVar("Part")

METRICS = ("lpips",)
"""What every arm is measured by, beside the judge."""
POCKET_METRICS = ("clipscore:pocket-clip", "clipscore:pocket-clip+culture_style")
"""What else on the benchmark `pocket`."""


@dataclass(frozen=True)
class Sizes:
    """Samples per culture of each part; None is the whole split."""

    test: int | None
    """Gap, ablation, waking."""
    sweep: int
    steer: int
    """Neutral English prompts, taken from so many samples per culture; each is drawn under every culture's neurons."""
    off_target: int
    variants: int
    held_out: int | None
    """Nouns outside the benchmark."""
    pairs: int
    """Prompt pairs of the attention contrast and the causal scan."""
    scan: int
    """Images of the causal scan."""
    random_sets: int
    """Control sets per culture."""
    sae_steps: int
    """Of SAEs that do not ship and are trained for the table of variants."""
    sae_samples: int
    """Train samples per culture that they see."""
    diverse: int = 1
    """Prompts per culture that are drawn with several seeds, for diversity."""
    brief: bool = False
    """Variants and scanned images at the paper's site and the recipe's alone, fewer strengths and English prompts."""
    steps: int | None = None
    """Of the sampler; None for the model's."""

    @staticmethod
    def named(name: str) -> "Sizes":
        """`quick` (minutes), `sample` (a stratified part of the test split) or `full` (all of it)."""
        return {
            "quick": Sizes(3, 1, 1, 1, 1, 1, 3, 1, 3, 60, 12, brief=True, steps=8),
            "sample": Sizes(16, 4, 2, 3, 2, 4, 12, 1, 20, 300, 60, diverse=1),
            "full": Sizes(None, 10, 4, 8, 8, None, 12, 6, 20, 600, 210, diverse=4),
        }[name]


@dataclass(frozen=True)
class Study:
    """One run: model, benchmark, sizes, judge, seed."""

    model: Adapter
    bench: Benchmark
    sizes: Sizes
    judge: Judge
    seed: int = 0
    progress: bool = True
    training: bool = False
    """Train an enhancer and its controls where none ships: hours on a real model."""
    also: tuple[str, ...] = ()
    """Further metrics of every arm, named as in `interp.metrics.registry`."""
    _measured: dict[Callable[["Study"], Any], Any] = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def named(
        model: Adapter,
        bench: Benchmark,
        size: str,
        judge: str | None = None,
        *,
        seed: int = 0,
        progress: bool = True,
        training: bool = False,
        also: tuple[str, ...] = (),
    ) -> "Study":
        """A study by the name of its size and judge.

        Args:
            model: the adapter.
            bench: the benchmark.
            size: `quick`, `sample` or `full`.
            judge: name as in `interp.metrics.registry`; None for the one that ships for the benchmark.
            seed: of everything random.
            progress: show bars.
            training: train an enhancer and its controls where none ships.
            also: further metrics.

        Raises:
            InterpError: no judge ships for the benchmark and none is named.
        """
        made = registry.judge(judge, bench.cultures, model.device) if judge else default_judge(bench, model.device)
        return Study(model, bench, Sizes.named(size), made, seed, progress, training, also)

    def ask(self, part: Callable[["Study"], Part]) -> Part:
        """A part of the study, measured when it is first asked for: a function of `parts` or `images`."""
        if part not in self._measured:
            self._measured[part] = part(self)
        return self._measured[part]

    @property
    def metrics(self) -> tuple[str, ...]:
        """What every arm of the test split is measured by, beside the judge."""
        return METRICS + (POCKET_METRICS if registry.is_pocket(self.bench) else ()) + self.also

    def setup(
        self,
        per_culture: int | None,
        split: str = TEST,
        cultures: Collection[str] | None = None,
        metrics: tuple[str, ...] = (),
    ) -> Setup:
        """The setup of one of its experiments; arguments as of `Setup.of`."""
        return Setup.of(
            self.model, self.bench, split, per_culture, cultures, self.judge, metrics, self.seed, self.sizes.steps,
            self.progress,
        )  # fmt: skip
