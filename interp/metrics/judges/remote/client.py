"""What judges behind a server share beside `sender`: fields, the picture, reading the answer, failures, the cost.

A question that finds no answer is left unscored and counted by its reason. The key comes from the environment, is read
when questions are sent, and is kept in no object.
"""

import io
import ipaddress
import json
import math
import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from interp import bounds
from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.metrics.judges.base import LETTERS, QUESTION, Verdicts, question, rotated
from interp.metrics.judges.remote.sender import Answer, Busy, Clock, Sender
from interp.metrics.judges.remote.words import Secret
from interp.store import sha256_bytes

if TYPE_CHECKING:
    import httpx2

    from interp.metrics.judges.remote.bounded import Reduce

PROTOCOL = 1
"""Of the questions and of how answers are read; in every digest."""
LETTER = re.compile(r"([A-Za-z])[.)]?|\(([A-Za-z])\)\.?")
CHARACTERS_A_TOKEN = 4
"""Of English text, for estimates."""


HOST = re.compile(r"(?=.{1,253}\.?$)(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*\.?")
PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")
LONGEST_URL = 2000
LONGEST_NAME = 200
"""Characters of a model's name or a label."""
DEAREST = 1e6
"""USD a million tokens, beyond any price there is."""
HINTS = {
    401: "check the key",
    403: "check the key and what it may use",
    404: "check the model's name and the address",
}


def client(url: str, sender: Sender, headers: Mapping[str, str], reduce: "Reduce | None" = None) -> "httpx2.Client":
    """A client for one server whose every attempt is bounded; it follows no redirect and reads no netrc.

    Args:
        url: the server's.
        sender: has the seconds of an attempt.
        headers: of every request.
        reduce: what of a reply's body is handed on; all if None.
    """
    import httpx2

    from interp.metrics.judges.remote import bounded

    carrier = bounded.Transport(url, sender.timeout, reduce=reduce)
    return httpx2.Client(transport=carrier, headers=headers, timeout=None, trust_env=False, follow_redirects=False)


@contextmanager
def transport() -> Iterator[None]:
    """Failures of the network as `Busy`; their own text, traceback and cause are dropped: they may show headers."""
    import httpx2

    from interp.metrics.judges.remote import bounded

    try:
        yield
        return
    except httpx2.TimeoutException:
        busy = Busy("timeout")
    except httpx2.RequestError as error:
        busy = Busy(f"connection ({type(error).__name__})")
    except bounded.Unusable as error:
        busy = Busy(str(error), again=False)
    raise busy


def failure(system: str, status: int, words: str, after: float | None = None) -> Busy | InterpError:
    """What an HTTP status that is no success means: try again, or stop.

    Args:
        system: what was asked, for the error.
        status: of HTTP.
        words: the server's, as `told` gives them.
        after: seconds that the server asked to wait.
    """
    if status in (408, 429) or status >= 500:
        return Busy(f"HTTP {status}", after)
    hint = HINTS.get(status, "check the model's name and the settings")
    if 300 <= status < 400:
        hint = "it sends the question elsewhere, which is not followed; give the address that answers"
    said = words or "no message that can be repeated"
    return InterpError(f"{system} refused the question with HTTP {status}: {said}; {hint}")


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
    name, found = next(((n, value) for n in names if (value := os.environ.get(n, "").strip())), ("", ""))
    if not found:
        raise InterpError(f"no key: none of {', '.join(names)} is set; export one of them")
    if not (found.isascii() and found.isprintable()) or " " in found:
        raise InterpError(f"the key in {name} holds a space or a character outside ASCII; export the key alone")
    return Secret(found)


def address(url: str) -> str:
    """A server's address without a trailing slash.

    Raises:
        InterpError: it is none, or carries a password or a query, which would end up in records.
    """
    shown = f"base_url {url!a:.100}" if not set(url) & {"@", "?", "#"} else "base_url"
    form = "give an address such as https://host/v1"
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > LONGEST_URL:
        raise InterpError(f"{shown}: holds a space or a character outside ASCII, or is too long; {form}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InterpError(f"{shown}: no host, or a port that is no number up to 65535; {form}") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        where = f"base_url at {host}" if _is_host(host) else "base_url"
        raise InterpError(f"{where}: holds a user, a query or a fragment; give the key by the environment")
    if parts.scheme not in ("http", "https") or not _is_host(host) or port == 0 or parts.netloc.endswith(":"):
        raise InterpError(f"{shown}: no http or https with a host and, if any, a port from 1; {form}")
    if not PATH.fullmatch(parts.path) or ".." in parts.path.split("/"):
        raise InterpError(f"{shown}: the part behind the host holds what no path does; {form}")
    return url.rstrip("/")


def _is_host(host: str) -> bool:
    """Whether it is a name or an address of IP; one that looks like an address must be one."""
    if ":" in host or host.replace(".", "").isdigit():
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True
    return HOST.fullmatch(host) is not None


def check_name(what: str, name: str) -> None:
    """Refuse a name that cannot be sent or shown in one line.

    Raises:
        InterpError: it is blank or too long, or holds control characters or lone surrogates.
    """
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise InterpError(f"{what} {name!a:.60}: give 1 to {LONGEST_NAME} characters that can be printed")


def check_price(price: tuple[float, float] | None) -> None:
    """Refuse what is no price.

    Raises:
        InterpError: not two numbers, or one is negative or not finite.
    """
    if price is None:
        return
    if not isinstance(price, tuple) or len(price) != 2:
        raise InterpError(f"price {price!r:.60}: give (input, output) in USD a million tokens, such as (0.3, 2.5)")
    for part in price:
        bounds.number("price", part, 0, DEAREST)


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
        InterpError: Unrecognisable is missing, there are too many, or one comes twice or cannot be printed.
    """
    for label in labels:
        check_name("label", label)
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
        own = np.array([answer.chances.get(LETTERS[options.index(label)], 0.0) for label in labels])
        if given and own.sum() > 0:
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
    @abstractmethod
    def digest(self) -> str:
        """Of all that decides its answers, as far as it is known."""

    @abstractmethod
    def estimate(self, pictures: Sequence[Picture]) -> "Estimate":
        """What asking about them will about cost."""

    @abstractmethod
    def _check_settings(self) -> None:
        """Refuse what cannot be sent of the fields that only this judge has."""

    @abstractmethod
    def _answers(self, pictures: Sequence[Picture], items: Sequence[str]) -> Iterator[tuple[int, Answer]]:
        """What the server answers, as it comes, each with the position of its picture."""

    def answers(self, pictures: Sequence[Picture], items: Sequence[str]) -> Iterator[tuple[int, Verdicts]]:
        """Ask about every picture; the answers as they come, each with the position of its picture.

        Raises:
            InterpError: the client is not installed, no key is set, or the server refuses the requests; what was on
                its way by then is given first.
        """
        for at, answer in self._answers(pictures, items):
            yield at, verdicts(self.labels, [items[at]], [answer], self.unscored)

    def __call__(self, pictures: Sequence[Picture], items: Sequence[str]) -> Verdicts:
        """Ask about every picture.

        Raises:
            InterpError: the client is not installed, no key is set, or the server refuses the requests.
        """
        found = dict(self._answers(pictures, items))
        return verdicts(self.labels, items, [found[at] for at in range(len(items))], self.unscored)

    def _each(
        self, send: Callable[[Picture, Sequence[str]], Answer], pictures: Sequence[Picture], items: Sequence[str]
    ) -> Iterator[tuple[int, Answer]]:
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
