"""A judge behind Google's Gemini API, by google-genai; the server may answer with an option letter only."""

import enum
import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from pydantic import ValidationError

from interp.errors import InterpError, InterpWarning
from interp.metrics.base import Picture
from interp.metrics.judges import remote
from interp.metrics.judges.base import LETTERS, question
from interp.metrics.judges.remote import Estimate, RemoteJudge
from interp.metrics.judges.sender import Answer, Busy

GOOGLE = "https://generativelanguage.googleapis.com"
API_VERSION = "v1beta"
"""Where thinking budgets and enumerated answers are documented; named, because the client's default moves."""
KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
Form = Literal["text/x.enum", "application/json"]


class _FormRefused(Exception):
    """The server does not know text/x.enum."""


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

    def _answers(self, pictures: Sequence[Picture], items: Sequence[str]) -> list[Answer]:
        try:
            return self._in_form(pictures, items, self.form)
        except _FormRefused:
            warnings.warn(f"{self.model} refuses {self.form}; asked for application/json instead", InterpWarning, 3)
            return self._in_form(pictures, items, "application/json")

    def _in_form(self, pictures: Sequence[Picture], items: Sequence[str], form: Form) -> list[Answer]:
        secret = remote.key(*KEYS)
        letters = enum.Enum("Letter", {letter: letter for letter in LETTERS[: len(self.labels)]})
        config = _types().GenerateContentConfig(response_schema=letters, **self._settings(form))
        with self._client(secret) as client:
            return self._each(partial(self._send, client, config, secret), pictures, items)

    def _client(self, secret: str) -> Any:
        """A client of google-genai that retries nothing by itself and takes no settings from the environment."""
        import httpx2

        types = _types()
        from google import genai  # pyright: ignore[reportAttributeAccessIssue] - an extra

        options = types.HttpOptions(
            base_url=remote.address(self.base_url) + "/",
            api_version=API_VERSION,
            timeout=max(round(1000 * self.sender.timeout), 1),
            retry_options=types.HttpRetryOptions(attempts=1),
            httpx_client=httpx2.Client(),
        )
        return genai.Client(api_key=secret, vertexai=False, http_options=options)

    def _send(self, client: Any, config: Any, secret: str, picture: Picture, options: Sequence[str]) -> Answer:
        """Ask once."""
        from google.genai.errors import APIError  # pyright: ignore[reportMissingImports] - an extra

        contents = [_types().Part.from_bytes(data=remote.png(picture), mime_type="image/png"), question(options)]
        try:
            with remote.transport():
                response = client.models.generate_content(model=self.model, contents=contents, config=config)
        except APIError as error:
            raise self._refused(error, config.response_mime_type, secret) from None
        except (json.JSONDecodeError, ValidationError):
            raise Busy("malformed reply") from None
        return _read(response, config.response_mime_type)

    def _refused(self, error: Any, form: Form, secret: str) -> Exception:
        words = str(error.message or "")
        if error.code == 400 and form == "text/x.enum" and form in words:
            return _FormRefused(words.replace(secret, "…"))
        header = error.response.headers.get("retry-after") if error.response is not None else None
        after = remote.retry_after(header, self.sender.clock)
        return remote.failure(self.system, error.code, words, secret, _delay(error.details) if after is None else after)


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
            return float(delay[:-1])
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
