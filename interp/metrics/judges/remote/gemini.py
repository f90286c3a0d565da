"""A judge behind Google's Gemini API; the server may answer with an option letter only."""

import json
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

from pydantic import AliasPath, BaseModel, Field, ValidationError

from interp import bounds
from interp.benchmarks.images import Picture
from interp.errors import InterpError, InterpWarning
from interp.metrics.judges.base import LETTERS, question
from interp.metrics.judges.remote.client import Problem, RemoteJudge, key
from interp.metrics.judges.remote.sender import Answer, Busy
from interp.metrics.judges.remote.words import Secret

GOOGLE = "https://generativelanguage.googleapis.com"
API_VERSION = "v1beta"
"""Where thinking budgets and enumerated answers are documented."""
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
MOST_THINKING = 1_000_000
KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
Form = Literal["text/x.enum", "application/json"]
ENUM, JSON = get_args(Form)
ENDS = (
    *("MAX_TOKENS", "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "JAILBREAK"),
    *("IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER", "NO_IMAGE", "TOO_MANY_TOOL_CALLS", "ESCALATION"),
    *("MISSING_THOUGHT_SIGNATURE", "FINISH_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED", "CONTINUATION"),
    *("IMAGE_SAFETY", "MODEL_ARMOR", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"),
)
"""Google's reasons against an answer that are named; any other is `OTHER`, for it may be the server's own words."""


class _FormRefused(Exception):
    """The server does not know text/x.enum."""


class _Part(BaseModel):
    text: str | None = None
    thought: bool | None = None


class _Reply(BaseModel):
    """What blocked the question, and the first candidate."""

    candidates: list[Any] | None = None
    blocked: str | None = Field(None, validation_alias=AliasPath("promptFeedback", "blockReason"))
    finish: str | None = Field(None, validation_alias=AliasPath("candidates", 0, "finishReason"))
    parts: list[_Part] | None = Field(None, validation_alias=AliasPath("candidates", 0, "content", "parts"))


@dataclass(frozen=True)
class GeminiJudge(RemoteJudge):
    """Asks a Gemini model for the letter of one option, at temperature 0 and without thinking."""

    KNOWN: ClassVar[tuple[str, ...]] = (ENUM,)
    RULE: ClassVar[str] = "258 per tile of an image"

    model: str = "gemini-2.5-flash"
    base_url: str = GOOGLE
    form: Form = "text/x.enum"
    """How the answer is bound to the letters. A server that refuses text/x.enum is asked for JSON, with a warning."""
    thinking: int = 0
    """Budget in tokens; some models cannot do without and need more."""

    def _check_settings(self) -> None:
        if not MODEL.fullmatch(self.model) or ".." in self.model:
            raise InterpError(
                f"model {self.model!a:.60}: becomes part of an address; give a name like gemini-2.5-flash"
            )
        if self.form not in get_args(Form):
            raise InterpError(f"form {self.form!r:.60}: give one of {', '.join(get_args(Form))}")
        bounds.whole("thinking", self.thinking, -1, MOST_THINKING)

    def _identity(self) -> dict[str, Any]:
        thinking = {"thinking_budget": self.thinking}
        settings = {"response_mime_type": self.form, "temperature": 0, "seed": 0, "thinking_config": thinking}
        return {"system": "gemini", "version": API_VERSION, "settings": settings}

    @staticmethod
    def image_tokens(width: int, height: int) -> int:
        """Tokens of an image as Google's documents count them for Gemini 2.

        258 for one of at most 384 × 384; else 258 per tile, of a side of two thirds of the short side, from 256 to 768.
        """
        if max(width, height) <= 384:
            return 258
        side = min(max(math.floor(min(width, height) / 1.5), 256), 768)
        return 258 * math.ceil(width / side) * math.ceil(height / side)

    def _answers(self, images: Sequence[Picture], items: Sequence[str]) -> Iterator[tuple[int, Answer]]:
        left = dict(enumerate(items))
        refused = False
        try:
            for at, answer in self._each(images, items):
                del left[at]
                yield at, answer
        except _FormRefused:
            refused = True
        if not refused:
            return
        warnings.warn(f"{self.model} refuses {self.form}; asked for {JSON} instead", InterpWarning, 3)
        again = list(left)
        as_json = replace(self, form=JSON)
        for at, answer in as_json._each([images[n] for n in again], list(left.values())):
            yield again[at], answer

    def _key(self) -> Secret:
        return key(*KEYS)

    def _headers(self, secret: Secret) -> dict[str, str]:
        return {"x-goog-api-key": secret.value}

    def _request(self, image: str, options: Sequence[str]) -> tuple[str, dict[str, Any]]:
        parts = [{"inlineData": {"mimeType": "image/png", "data": image}}, {"text": question(options)}]
        config = {
            "temperature": 0,
            "seed": 0,
            "responseMimeType": self.form,
            "responseSchema": {"type": "STRING", "enum": list(LETTERS[: len(self.labels)])},
            "thinkingConfig": {"thinkingBudget": self.thinking},
        }
        name = self.model if self.model.startswith(("models/", "tunedModels/")) else f"models/{self.model}"
        body = {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}
        return f"/{API_VERSION}/{name}:generateContent", body

    def _read(self, reply: bytes) -> Answer:
        """Only an answer that the model ended by itself is taken."""
        try:
            answer = _Reply.model_validate_json(reply)
        except ValidationError:
            raise Busy("malformed reply") from None
        if answer.blocked is not None:
            return Answer(unanswered=f"blocked ({_named(answer.blocked)})")
        if not answer.candidates:
            raise Busy("empty reply")
        if answer.finish != "STOP":
            return Answer(unanswered=f"finish reason {_named(answer.finish)}")
        text = "".join(part.text for part in answer.parts or [] if part.text and not part.thought)
        return Answer(_unquoted(text) if self.form == JSON else text)

    def _refusal(self, status: int, problem: Problem) -> Answer | None:
        if status == 400 and self.form == ENUM and ENUM in problem.named:
            raise _FormRefused
        return None


def _named(reason: str | None) -> str:
    return "none" if reason is None else reason if reason in ENDS else "OTHER"


def _unquoted(text: str) -> str:
    """The string that a JSON answer is; the answer itself where it is none, which then is no letter."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, str) else text
