"""A judge behind Google's Gemini API, by google-genai; the server may answer with an option letter only."""

import enum
import json
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

from pydantic import BaseModel, ValidationError

from interp import bounds
from interp.benchmarks.images import Picture
from interp.errors import InterpError, InterpWarning
from interp.metrics.judges.base import LETTERS, question
from interp.metrics.judges.remote import client as remote
from interp.metrics.judges.remote.client import Estimate, RemoteJudge
from interp.metrics.judges.remote.sender import Answer, Busy
from interp.metrics.judges.remote.words import Secret, told

GOOGLE = "https://generativelanguage.googleapis.com"
API_VERSION = "v1beta"
"""Where thinking budgets and enumerated answers are documented; named, because the client's default moves."""
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
MOST_THINKING = 1_000_000
LONGEST_DELAY = 1e9
"""Seconds; a longer one is no other."""
KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
Form = Literal["text/x.enum", "application/json"]


class _FormRefused(Exception):
    """The server does not know text/x.enum."""


class _Part(BaseModel):
    text: str | None = None
    thought: bool | None = None


class _Content(BaseModel):
    parts: list[_Part] | None = None


class _Candidate(BaseModel):
    content: _Content | None = None
    finishReason: str | None = None


class _Feedback(BaseModel):
    blockReason: str | None = None


class _Reply(BaseModel):
    candidates: list[_Candidate] | None = None
    promptFeedback: _Feedback | None = None


@dataclass(frozen=True)
class GeminiJudge(RemoteJudge):
    """Asks a Gemini model for the letter of one option, at temperature 0 and without thinking."""

    model: str = "gemini-2.5-flash"
    base_url: str = GOOGLE
    form: Form = "text/x.enum"
    """How the answer is bound to the letters. A server that refuses text/x.enum is asked for JSON, with a warning."""
    thinking: int = 0
    """Budget in tokens; some models cannot do without and need more."""

    @property
    def digest(self) -> str:
        """Of the question, the labels, the model's name, the address and the settings; Google can change the weights
        under a name."""
        where = {"base_url": remote.address(self.base_url), "version": API_VERSION}
        return remote.digest(
            self.labels, system="gemini", model=self.model, **where, settings=self._settings(self.form)
        )

    def _settings(self, form: Form) -> dict[str, Any]:
        return {
            "response_mime_type": form,
            "temperature": 0,
            "seed": 0,
            "thinking_config": {"thinking_budget": self.thinking},
        }

    def estimate(self, pictures: Sequence[Picture]) -> Estimate:
        """What asking about them will about cost."""
        return remote.estimate(pictures, self.labels, picture_tokens, "258 a tile of a picture", self.price)

    def _check_settings(self) -> None:
        if not MODEL.fullmatch(self.model) or ".." in self.model:
            raise InterpError(
                f"model {self.model!a:.60}: becomes part of an address; give a name like gemini-2.5-flash"
            )
        if self.form not in get_args(Form):
            raise InterpError(f"form {self.form!r:.60}: give one of {', '.join(get_args(Form))}")
        bounds.whole("thinking", self.thinking, -1, MOST_THINKING)

    def _answers(self, pictures: Sequence[Picture], items: Sequence[str]) -> Iterator[tuple[int, Answer]]:
        left = dict(enumerate(items))
        refused = False
        try:
            for at, answer in self._in_form(pictures, items, self.form):
                del left[at]
                yield at, answer
        except _FormRefused:
            refused = True
        if not refused:
            return
        warnings.warn(f"{self.model} refuses {self.form}; asked for application/json instead", InterpWarning, 3)
        again = list(left)
        for at, answer in self._in_form([pictures[n] for n in again], list(left.values()), "application/json"):
            yield again[at], answer

    def _in_form(self, pictures: Sequence[Picture], items: Sequence[str], form: Form) -> Iterator[tuple[int, Answer]]:
        secret = remote.key(*KEYS)
        letters = enum.Enum("Letter", {letter: letter for letter in LETTERS[: len(self.labels)]})
        config = _types().GenerateContentConfig(response_schema=letters, **self._settings(form))
        reduce = partial(_reduced, form=form, secret=secret, model=self.model)
        with self._client(secret, reduce) as client:
            yield from self._each(partial(self._send, client, config), pictures, items)

    def _client(self, secret: Secret, reduce: Callable[[int, bytes], bytes]) -> Any:
        """A client of google-genai that retries nothing by itself and takes no settings from the environment."""
        import httpx2

        types = _types()
        from google import genai  # pyright: ignore[reportAttributeAccessIssue] - an extra

        where = remote.address(self.base_url)
        options = types.HttpOptions(
            base_url=where + "/",
            api_version=API_VERSION,
            timeout=max(round(1000 * self.sender.timeout), 1),
            retry_options=types.HttpRetryOptions(attempts=1),
            httpx_client=remote.client(where, self.sender, {}, reduce),
            # never used; the client would make one that takes the environment's proxies and fails over a bad one
            httpx_async_client=httpx2.AsyncClient(transport=httpx2.AsyncBaseTransport()),
        )
        return genai.Client(api_key=secret.value, vertexai=False, http_options=options)

    def _send(self, client: Any, config: Any, picture: Picture, options: Sequence[str]) -> Answer:
        """Ask once."""
        from google.genai.errors import APIError  # pyright: ignore[reportMissingImports] - an extra

        contents = [_types().Part.from_bytes(data=remote.png(picture), mime_type="image/png"), question(options)]
        failed: Exception
        try:
            with remote.transport():
                response = client.models.generate_content(model=self.model, contents=contents, config=config)
            return _read(response, config.response_mime_type)
        except APIError as error:
            failed = self._refused(error)
        raise failed

    def _refused(self, error: Any) -> Exception:
        header = error.response.headers.get("retry-after")
        after = remote.retry_after(header, self.sender.clock)
        after = _delay(error.details) if after is None else after
        return remote.failure(self.system, error.code, str(error.message or ""), after)


def _reduced(status: int, body: bytes, form: Form, secret: Secret, model: str) -> bytes:
    """What is read of a reply: the client warns of what it does not know of the rest, in the server's own words.

    Raises:
        Busy: the reply is malformed.
        _FormRefused: it is a refusal of text/x.enum.
    """
    if 200 <= status < 300:
        return _reduced_reply(body)
    given = _parsed(body)
    error = given.get("error", given) if isinstance(given, dict) else {}
    words = error.get("message") if isinstance(error, dict) else None
    words = words if isinstance(words, str) else body.decode(errors="replace")
    if status == 400 and form == "text/x.enum" and form in words:
        raise _FormRefused
    after = [] if (delay := _delay(given)) is None else [{"retryDelay": f"{delay}s"}]
    error = {"code": status, "message": told(words, secret, {model}), "status": "", "details": after}
    return json.dumps({"error": error}).encode()


def _reduced_reply(body: bytes) -> bytes:
    types = _types()
    try:
        reply = _Reply.model_validate_json(body)
    except ValidationError:
        reply = None
    if reply is None:
        raise Busy("malformed reply")
    for candidate in reply.candidates or []:
        candidate.finishReason = _known(candidate.finishReason, types.FinishReason)
    if reply.promptFeedback:
        reply.promptFeedback.blockReason = _known(reply.promptFeedback.blockReason, types.BlockedReason)
    return reply.model_dump_json(exclude_none=True).encode()


def _known(name: str | None, names: Any) -> str | None:
    """A name of Google's, or OTHER for one that is none."""
    return name if name is None or name in names.__members__ else "OTHER"


def _parsed(body: bytes) -> Any:
    """JSON; None for anything else."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _types() -> Any:
    try:
        from google.genai import types  # pyright: ignore[reportMissingImports] - an extra
    except ImportError as error:
        raise InterpError(
            "Gemini needs google-genai, which is not installed; pip install culture-interp[judges]"
        ) from (error)
    return types


def _read(response: Any, form: Form) -> Answer:
    """What a reply says; only one that the model ended by itself is taken."""
    blocked = response.prompt_feedback.block_reason if response.prompt_feedback else None
    if blocked is not None:
        return Answer(unanswered=f"blocked ({blocked.value})")
    if not response.candidates:
        raise Busy("empty reply")
    first = response.candidates[0]
    if first.finish_reason is None or first.finish_reason.value != "STOP":
        reason = first.finish_reason.value if first.finish_reason else "none"
        return Answer(unanswered=f"finish reason {reason}")
    parts = (first.content.parts if first.content else None) or []
    text = "".join(p.text for p in parts if p.text and not p.thought)
    return Answer(_unquoted(text) if form == "application/json" else text)


def _unquoted(text: str) -> str:
    """The string that a JSON answer is; the answer itself where it is none, which then is no letter."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if isinstance(value, str) else text


def _delay(details: Any) -> float | None:
    """Seconds of the RetryInfo that Google puts into the body of an error 429, such as `34.07s`."""
    error = details.get("error", details) if isinstance(details, dict) else {}
    said = error.get("details") if isinstance(error, dict) else None
    for entry in said if isinstance(said, list) else []:
        delay = entry.get("retryDelay") if isinstance(entry, dict) else None
        if isinstance(delay, str) and delay.endswith("s") and delay[:-1].replace(".", "", 1).isdecimal():
            return min(float(delay[:-1]), LONGEST_DELAY)
    return None


def picture_tokens(width: int, height: int) -> int:
    """Tokens of a picture as Google's documents count them for Gemini 2.

    258 for one of at most 384 × 384; else 258 for every tile, of a side of two thirds of the short side, between 256
    and 768.
    """
    if max(width, height) <= 384:
        return 258
    side = min(max(math.floor(min(width, height) / 1.5), 256), 768)
    return 258 * math.ceil(width / side) * math.ceil(height / side)
