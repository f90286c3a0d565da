"""What a judge is, and the question that every judge but the pocket one is asked."""

import string
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.types import UNRECOGNISABLE

LETTERS = string.ascii_uppercase + string.ascii_lowercase
"""Names of the options: single characters, and so single tokens of every vocabulary looked at."""
QUESTION = (
    "Which culture does this picture show? Judge by what can be seen: buildings, clothes, food, objects, patterns, "
    "people and places. If nothing in it points to one of them, choose {nothing}.\n\n{options}\n\n"
    "Answer with the letter of one option and nothing else."
)
"""The paper does not print its prompt; this one is ours."""


@dataclass(frozen=True)
class Verdicts:
    """Answers for a list of images."""

    culture: tuple[str, ...]
    """One of the judge's labels; '' where it gave no answer that could be read."""
    noun: tuple[str, ...] | None = None
    """Of a judge that also names the noun."""
    culture_probability: Float[np.ndarray, "sample culture"] | None = None
    """By label; NaN where there is none; None for judges that give no probabilities."""
    noun_probability: Float[np.ndarray, "sample noun"] | None = None


@runtime_checkable
class Judge(Protocol):
    """Names the culture of images from the pixels alone; the prompt is never shown to it.

    Answers are kept between runs for a judge that has a `digest`: a string that changes whenever its answers could.
    """

    @property
    def name(self) -> str:
        """Short, such as `qwen3-vl`."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The answers it chooses from: the cultures, then Unrecognisable."""
        ...

    def __call__(self, images: Sequence[Picture], items: Sequence[str]) -> Verdicts:
        """Answer for every image.

        Args:
            images: they may differ in size.
            items: the sample of each: the order of the options follows from it.
        """
        ...


@runtime_checkable
class Priced(Protocol):
    """A judge that is paid for by the question."""

    @property
    def unscored(self) -> Counter[str]:
        """Images without an answer so far, by reason."""
        ...

    def estimate(self, images: Sequence[Picture]) -> object:
        """What asking about images will about cost, as a record that says it."""
        ...


@runtime_checkable
class OneByOne(Protocol):
    """A judge whose answers come one at a time, each worth keeping as soon as it is there."""

    def answers(self, images: Sequence[Picture], items: Sequence[str]) -> Iterator[tuple[int, Verdicts]]:
        """The answers as they come, each with the position of its image.

        The next question of a thread is asked when its last answer was taken: who writes each answer down before
        taking the next loses at most what is in flight.
        """
        ...


def hear(judge: Judge, images: Sequence[Picture], items: Sequence[str]) -> Iterator[tuple[Sequence[int], Verdicts]]:
    """A judge's answers in the parts in which they come, each with the positions of its images.

    One by one from a judge that can, else all at once.
    """
    if isinstance(judge, OneByOne):
        for at, verdicts in judge.answers(images, items):
            yield (at,), verdicts
    elif images:
        yield range(len(images)), judge(images, items)


def rotated(labels: Sequence[str], item: str) -> tuple[str, ...]:
    """The options as an item is asked them: the labels, turned by a number that follows from the item's name.

    Over many items every label stands at every letter equally often, so a judge's liking for a letter cancels out.
    """
    turn = zlib.crc32(item.encode()) % len(labels)
    return (*labels[turn:], *labels[:turn])


def question(options: Sequence[str]) -> str:
    """The question with its options, as `rotated` gives them, each behind a letter.

    Raises:
        InterpError: more options than letters, or Unrecognisable is not among them.
    """
    if UNRECOGNISABLE not in options:
        raise InterpError(f"the options lack {UNRECOGNISABLE!r}, the answer for a picture that shows no culture")
    if len(options) > len(LETTERS):
        raise InterpError(f"{len(options)} options asked; there are letters for {len(LETTERS)}; merge some labels")
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    return QUESTION.format(nothing=UNRECOGNISABLE, options="\n".join(lines))


def hits(answers: Sequence[str], truths: Sequence[str]) -> Float[np.ndarray, "sample"]:
    """100 where the answer is the truth, 0 where it is not, NaN where there is no answer."""
    return np.array([100.0 * (a == t) if a else np.nan for a, t in zip(answers, truths, strict=True)])
