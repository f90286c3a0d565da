"""A judge behind a server: what is asked, sent, read and refused alike whatever the server's system.

A question that finds no answer is left unscored and counted by its reason. The key comes from the environment, is read
when questions are sent, and is kept in no object.
"""

import base64
import io
import json
import math
import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image
from pydantic import AliasPath, BaseModel, Field, ValidationError

from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.metrics.judges.base import LETTERS, QUESTION, Verdicts, question, rotated
from interp.metrics.judges.remote.sender import Answer, Busy, Clock, Sender
from interp.metrics.judges.remote.settings import address, check_labels, check_name, check_price
from interp.metrics.judges.remote.words import Secret, repeatable
from interp.store import sha256_bytes

if TYPE_CHECKING:
    import httpx2

PROTOCOL = 1
"""Of the questions and of how answers are read; in every digest."""
LETTER = re.compile(r"([A-Za-z])[.)]?|\(([A-Za-z])\)\.?")
CHARACTERS_A_TOKEN = 4
"""Of English text, for estimates."""
DELAY = re.compile(r"[0-9]+(\.[0-9]*)?s")
LONGEST_DELAY = 1e9
"""Seconds; a longer one is no other."""
HINTS = {
    401: "check the key",
    403: "check the key and what it may use",
    404: "check the model's name and the address",
    **dict.fromkeys(
        range(300, 400), "it sends the question elsewhere, which is not followed; give the address that answers"
    ),
}


class _Refusal(BaseModel):
    error: dict[str, Any]
    message: str = Field("", validation_alias=AliasPath("error", "message"))
    code: str | int | None = Field(None, validation_alias=AliasPath("error", "code"))


@dataclass(frozen=True)
class Problem:
    """What a refusal says, without anything that cannot be repeated."""

    words: str
    """Of the message; '' if nothing can be repeated."""
    code: str
    """Its own, if that is a known one."""
    named: frozenset[str]
    """The known tokens that its message holds."""
    after: float | None
    """Seconds to wait, where the body names them."""


def problem(body: bytes, secret: Secret, known: Collection[str]) -> Problem:
    """Read the body of a refusal: `{"error": …}`, or anything else, which then is the message.

    `known` are codes and other tokens that may be repeated, such as the model's name.
    """
    try:
        refusal = _Refusal.model_validate_json(body)
    except ValidationError:
        refusal = _Refusal.model_validate({"error": {"message": body.decode(errors="replace")}})
    code = str(refusal.code) if str(refusal.code) in known else ""
    named = frozenset(token for token in known if token in refusal.message)
    return Problem(repeatable(refusal.message, secret, known), code, named, _delay(refusal.error.get("details")))


def _delay(details: Any) -> float | None:
    """Seconds of the RetryInfo that Google puts into the body of an error 429, such as `34.07s`."""
    for entry in details if isinstance(details, list) else []:
        delay = entry.get("retryDelay") if isinstance(entry, dict) else None
        if isinstance(delay, str) and DELAY.fullmatch(delay):
            return min(float(delay[:-1]), LONGEST_DELAY)
    return None


def retry_after(header: str | None, clock: Clock) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or as a date; None where it says nothing."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        try:
            seconds = parsedate_to_datetime(header).timestamp() - clock.wall()
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return max(seconds, 0.0)


def key(*names: str) -> Secret:
    """The first of some environment variables that is set.

    Raises:
        InterpError: none is, or it holds what no key has and no header takes.
    """
    name, value = next(((n, v) for n in names if (v := os.environ.get(n, "").strip())), ("", ""))
    if not value:
        raise InterpError(f"no key: none of {', '.join(names)} is set; export one of them")
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise InterpError(f"the key in {name} holds a space or a character outside ASCII; export the key alone")
    return Secret(value)


def letter(text: str, options: int) -> str:
    """The letter of one of so many options that an answer is, `C`, `C.`, `C)` or `(C)`; '' for anything else."""
    match = LETTER.fullmatch(text.strip())
    named = match[1] or match[2] if match else ""
    return named if named and named in LETTERS[:options] else ""


def verdicts(
    labels: Sequence[str], items: Sequence[str], answers: Sequence[Answer], unscored: Counter[str]
) -> Verdicts:
    """The labels that letters stand for, by the order that each item's question had; `unscored` counts the rest."""
    cultures = []
    chances = np.full((len(answers), len(labels)), np.nan)
    for row, (item, answer) in enumerate(zip(items, answers, strict=True)):
        options = rotated(labels, item)
        named = "" if answer.unanswered else letter(answer.text, len(labels))
        cultures.append(options[LETTERS.index(named)] if named else "")
        if not named:
            unscored[answer.unanswered or "no letter"] += 1
        by_label = np.array([answer.chances.get(LETTERS[options.index(label)], 0.0) for label in labels])
        if named and by_label.sum() > 0:
            chances[row] = by_label / by_label.sum()
    return Verdicts(tuple(cultures), culture_probability=chances if any(a.chances for a in answers) else None)


@dataclass(frozen=True)
class Estimate:
    """What a run will about cost, without retries."""

    questions: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    """None where no price was given."""
    rule: str
    """How the tokens of an image were counted."""

    def __str__(self) -> str:
        unknown = "price unknown, give price=(input, output) in USD per million tokens"
        cost = unknown if self.usd is None else f"{self.usd:.2f} USD"
        tokens = f"about {self.input_tokens:,} tokens in and {self.output_tokens:,} out"
        return f"{self.questions} questions, {tokens} ({self.rule}): {cost}"


@dataclass(frozen=True)
class RemoteJudge(ABC):
    """A judge behind a server: it asks for the letter of one option."""

    KNOWN: ClassVar[tuple[str, ...]] = ()
    """Tokens of its system that an error may repeat, beside the model's name."""
    RULE: ClassVar[str]
    """How the tokens of an image are counted."""

    labels: tuple[str, ...]
    model: str
    base_url: str
    price: tuple[float, float] | None = field(default=None, kw_only=True)
    """USD per million tokens in and out."""
    sender: Sender = field(default_factory=Sender, compare=False, kw_only=True)
    unscored: Counter[str] = field(default_factory=Counter, init=False, compare=False)
    """Images without an answer so far, by reason."""

    def __post_init__(self) -> None:
        check_labels(self.labels)
        check_name("model", self.model)
        check_price(self.price)
        address(self.base_url)
        self._check_settings()

    @property
    def name(self) -> str:
        """The model's."""
        return self.model

    @property
    def system(self) -> str:
        """What is asked, for errors."""
        return f"{self.model} at {address(self.base_url)}"

    @property
    def digest(self) -> str:
        """Of the question, the labels, the model's name, the address and the settings: the weights can change under a
        name."""
        known = {"protocol": PROTOCOL, "question": QUESTION, "labels": list(self.labels), "model": self.model}
        known |= {"base_url": address(self.base_url), **self._identity()}
        return sha256_bytes(json.dumps(known, sort_keys=True).encode())

    def estimate(self, images: Sequence[Picture]) -> Estimate:
        """What asking about images will about cost."""
        text = math.ceil(len(question(self.labels)) / CHARACTERS_A_TOKEN)
        sent = sum(text + self.image_tokens(image.shape[1], image.shape[0]) for image in images)
        usd = None if self.price is None else (sent * self.price[0] + len(images) * self.price[1]) / 1e6
        return Estimate(len(images), sent, len(images), usd, self.RULE)

    @abstractmethod
    def _check_settings(self) -> None:
        """Refuse what cannot be sent of the fields that only this judge has."""

    @abstractmethod
    def _identity(self) -> dict[str, Any]:
        """What else decides its answers: the system and the settings."""

    @staticmethod
    @abstractmethod
    def image_tokens(width: int, height: int) -> int:
        """Tokens of an image, as `RULE` says."""

    @abstractmethod
    def _answers(self, images: Sequence[Picture], items: Sequence[str]) -> Iterator[tuple[int, Answer]]:
        """What the server answers, as it comes, each with the position of its image."""

    @abstractmethod
    def _key(self) -> Secret:
        """From the environment."""

    @abstractmethod
    def _headers(self, secret: Secret) -> dict[str, str]:
        """What shows the key to the server."""

    @abstractmethod
    def _request(self, image: str, options: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """Path behind the address, and body, of one question; the image is a PNG file in base64."""

    @abstractmethod
    def _read(self, reply: bytes) -> Answer:
        """What a reply says; raises `Busy` if it is malformed."""

    @abstractmethod
    def _refusal(self, status: int, problem: Problem) -> Answer | None:
        """The answer that a refusal of one image is; None for any other refusal."""

    def answers(self, images: Sequence[Picture], items: Sequence[str]) -> Iterator[tuple[int, Verdicts]]:
        """Ask about every image; the answers as they come, each with the position of its image.

        Raises:
            InterpError: no key is set, or the server refuses the requests; what was on its way by then is given first.
        """
        for at, answer in self._answers(images, items):
            yield at, verdicts(self.labels, [items[at]], [answer], self.unscored)

    def __call__(self, images: Sequence[Picture], items: Sequence[str]) -> Verdicts:
        """Ask about every image.

        Raises:
            InterpError: no key is set, or the server refuses the requests.
        """
        answers = dict(self._answers(images, items))
        return verdicts(self.labels, items, [answers[at] for at in range(len(items))], self.unscored)

    def _each(self, images: Sequence[Picture], items: Sequence[str]) -> Iterator[tuple[int, Answer]]:
        """Send every image with its options."""
        secret = self._key()
        with self._client(secret) as client:
            ask, pairs = partial(self._ask, client, secret), zip(images, items, strict=True)
            yield from self.sender.each([partial(ask, image, rotated(self.labels, item)) for image, item in pairs])

    def _client(self, secret: Secret) -> "httpx2.Client":
        """A client whose every attempt is bounded; it follows no redirect and reads no netrc."""
        import httpx2

        from interp.metrics.judges.remote.bounded import Transport

        return httpx2.Client(
            transport=Transport(address(self.base_url), self.sender.timeout),
            headers=self._headers(secret),
            timeout=None,
            trust_env=False,
            follow_redirects=False,
        )

    def _ask(self, client: "httpx2.Client", secret: Secret, image: Picture, options: Sequence[str]) -> Answer:
        """Ask once."""
        path, body = self._request(png(image), options)
        response = client.post(address(self.base_url) + path, json=body)
        if response.is_success:
            return self._read(response.content)
        return self._refused(response, secret)

    def _refused(self, response: "httpx2.Response", secret: Secret) -> Answer:
        """What an HTTP status that is no success means: an unscored image, another attempt, or the end."""
        status, refusal = response.status_code, problem(response.content, secret, {self.model, *self.KNOWN})
        if (answer := self._refusal(status, refusal)) is not None:
            return answer
        if status in (408, 429) or status >= 500:
            after = retry_after(response.headers.get("retry-after"), self.sender.clock)
            raise Busy(f"HTTP {status}", refusal.after if after is None else after)
        words = refusal.words or "no message that can be repeated"
        hint = HINTS.get(status, "check the model's name and the settings")
        raise InterpError(f"{self.system} refused the question with HTTP {status}: {words}; {hint}")


def png(image: Picture) -> str:
    """An image as a PNG file, which loses nothing, in base64."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
