"""What judges behind a server share beside `sender`: fields, the picture, reading the answer, failures, the cost.

A question that finds no answer is left unscored and counted by its reason. The key comes from the environment, is read
when questions are sent, and is kept in no object.
"""

import io
import json
import math
import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from interp.errors import InterpError
from interp.metrics.base import Picture
from interp.metrics.judges.base import LETTERS, QUESTION, Verdicts, question, rotated
from interp.metrics.judges.sender import Answer, Busy, Clock, Sender
from interp.store import sha256_bytes

PROTOCOL = 1
"""Of the questions and of how answers are read; in every digest."""
LETTER = re.compile(r"([A-Za-z])[.)]?|\(([A-Za-z])\)\.?")
CHARACTERS_A_TOKEN = 4
"""Of English text, for estimates."""
LONGEST_MESSAGE = 300
"""Characters of a server's own words that an error repeats."""


@contextmanager
def transport() -> Iterator[None]:
    """Failures of the network as `Busy`; their own text and traceback are dropped, for they may show headers."""
    import httpx2

    try:
        yield
    except httpx2.TimeoutException:
        raise Busy("timeout") from None
    except httpx2.RequestError as error:
        raise Busy(f"connection ({type(error).__name__})") from None


def failure(system: str, status: int, message: str, secret: str, after: float | None = None) -> Busy | InterpError:
    """What an HTTP status that is no success means: try again, or stop.

    Args:
        system: what was asked, for the error.
        status: of HTTP.
        message: the server's own words.
        secret: taken out of them.
        after: seconds that the server asked to wait.
    """
    if status in (408, 429) or status >= 500:
        return Busy(f"HTTP {status}", after)
    hints = {
        401: "check the key",
        403: "check the key and what it may use",
        404: "check the model's name and the address",
    }
    words = " ".join((message.replace(secret, "…") if secret else message).split())[:LONGEST_MESSAGE]
    hint = hints.get(status, "check the model's name and the settings")
    return InterpError(f"{system} refused the question with HTTP {status}: {words or 'no message'}; {hint}")


def retry_after(header: str | None, clock: Clock) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or as a date; None where it says nothing."""
    if not header:
        return None
    try:
        return max(float(header), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(header).timestamp() - clock.wall(), 0.0)
    except ValueError:
        return None


def key(*names: str) -> str:
    """The first of some environment variables that is set.

    Raises:
        InterpError: none is.
    """
    found = next((value for name in names if (value := os.environ.get(name, "").strip())), None)
    if found is None:
        raise InterpError(f"no key: none of {', '.join(names)} is set; export one of them")
    return found


def address(url: str) -> str:
    """A server's address without a trailing slash.

    Raises:
        InterpError: it is none, or carries a password or a query, which would end up in records.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InterpError(f"base_url {url!r}: give an address such as https://host/v1")
    if parts.username or parts.password or parts.query:
        raise InterpError(f"base_url at {parts.hostname}: holds a user or a query; give the key by the environment")
    return url.rstrip("/")


def png(picture: Picture) -> bytes:
    """A picture as a PNG file, which loses nothing."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def digest(labels: Sequence[str], **settings: Any) -> str:
    """SHA-256 over all that decides a remote judge's answers, as far as it is known."""
    known = {"protocol": PROTOCOL, "question": QUESTION, "labels": list(labels), **settings}
    return sha256_bytes(json.dumps(known, sort_keys=True).encode())


def check_labels(labels: Sequence[str]) -> None:
    """Refuse labels that cannot be asked.

    Raises:
        InterpError: Unrecognisable is missing, there are too many, or one comes twice.
    """
    question(labels)
    if twice := [label for label, n in Counter(labels).items() if n > 1]:
        raise InterpError(f"label {twice[0]!r} is given twice; give each once")


def letter(text: str, options: int) -> str:
    """The one option letter that an answer is, `C`, `C.`, `C)` or `(C)`; '' for anything else.

    Args:
        text: the answer.
        options: how many there were.
    """
    found = LETTER.fullmatch(text.strip())
    given = (found[1] or found[2]) if found else ""
    return given if given and given in LETTERS[:options] else ""


def verdicts(
    labels: Sequence[str], items: Sequence[str], answers: Sequence[Answer], unscored: Counter[str]
) -> Verdicts:
    """Letters turned back into labels.

    Args:
        labels: in the judge's order.
        items: decide the order in which each question had its options.
        answers: to them.
        unscored: gets a count for every answer that is none, by reason.
    """
    cultures = []
    chances = np.full((len(answers), len(labels)), np.nan)
    for row, (item, answer) in enumerate(zip(items, answers, strict=True)):
        options = rotated(labels, item)
        given = "" if answer.unanswered else letter(answer.text, len(labels))
        cultures.append(options[LETTERS.index(given)] if given else "")
        if not given:
            unscored[answer.unanswered or "no letter"] += 1
        elif answer.chances:
            own = np.array([answer.chances.get(LETTERS[options.index(label)], 0.0) for label in labels])
            chances[row] = own / own.sum()
    return Verdicts(tuple(cultures), culture_probability=chances if any(a.chances for a in answers) else None)


@dataclass(frozen=True)
class RemoteJudge(ABC):
    """A judge behind a server: it asks for the letter of one option."""

    labels: tuple[str, ...]
    model: str
    base_url: str
    price: tuple[float, float] | None = field(default=None, kw_only=True)
    """USD a million tokens in and out."""
    sender: Sender = field(default_factory=Sender, compare=False, kw_only=True)
    unscored: Counter[str] = field(default_factory=Counter, init=False, compare=False)
    """Pictures without an answer so far, by reason."""

    def __post_init__(self) -> None:
        check_labels(self.labels)
        address(self.base_url)

    @property
    def name(self) -> str:
        """The model's."""
        return self.model

    @property
    def system(self) -> str:
        """What is asked, for errors."""
        return f"{self.model} at {address(self.base_url)}"

    @property
    @abstractmethod
    def digest(self) -> str:
        """Of all that decides its answers, as far as it is known."""

    @abstractmethod
    def estimate(self, pictures: Sequence[Picture]) -> "Estimate":
        """What asking about them will about cost."""

    @abstractmethod
    def _answers(self, pictures: Sequence[Picture], items: Sequence[str]) -> list[Answer]:
        """What the server answers about every picture."""

    def __call__(self, pictures: Sequence[Picture], items: Sequence[str]) -> Verdicts:
        """Ask about every picture.

        Raises:
            InterpError: the client is not installed, no key is set, or the server refuses the requests.
        """
        return verdicts(self.labels, items, self._answers(pictures, items), self.unscored)

    def _each(
        self, send: Callable[[Picture, Sequence[str]], Answer], pictures: Sequence[Picture], items: Sequence[str]
    ) -> list[Answer]:
        """Send every picture with its options."""
        asked = [partial(send, p, rotated(self.labels, i)) for p, i in zip(pictures, items, strict=True)]
        return self.sender.each(asked)


@dataclass(frozen=True)
class Estimate:
    """What a run will about cost, without retries."""

    questions: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    """None where no price was given."""
    rule: str
    """How the tokens of a picture were counted."""

    def __str__(self) -> str:
        unknown = "price unknown, give price=(input, output) in USD a million tokens"
        cost = unknown if self.usd is None else f"{self.usd:.2f} USD"
        tokens = f"about {self.input_tokens:,} tokens in and {self.output_tokens:,} out"
        return f"{self.questions} questions, {tokens} ({self.rule}): {cost}"


def estimate(
    pictures: Sequence[Picture],
    labels: Sequence[str],
    tokens: Callable[[int, int], int],
    rule: str,
    price: tuple[float, float] | None,
) -> Estimate:
    """What asking about pictures will about cost.

    Args:
        pictures: to be asked about.
        labels: of the judge.
        tokens: of a picture, by width and height.
        rule: `tokens` in words.
        price: USD a million tokens in and out.
    """
    text = math.ceil(len(question(labels)) / CHARACTERS_A_TOKEN)
    given = sum(text + tokens(p.shape[1], p.shape[0]) for p in pictures)
    usd = None if price is None else (given * price[0] + len(pictures) * price[1]) / 1e6
    return Estimate(len(pictures), given, len(pictures), usd, rule)
