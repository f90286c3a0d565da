"""A judge behind any OpenAI-compatible endpoint for chat completions that reads images."""

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import AliasPath, BaseModel, Field, ValidationError

from interp import bounds
from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.metrics.judges.base import LETTERS, question
from interp.metrics.judges.remote.client import Problem, RemoteJudge, key, letter
from interp.metrics.judges.remote.sender import Answer, Busy
from interp.metrics.judges.remote.settings import address
from interp.metrics.judges.remote.words import Secret

OPENAI = "https://api.openai.com/v1"
MOST_LOGPROBS = 1000
LONGEST_ANSWER = 8
"""Tokens: a letter in brackets has three."""
IMAGE_REFUSED = ("content_filter", "content_policy_violation")
"""Codes of an error 400 that refuses one image and not the request's form."""
ENDS = ("length", "content_filter", "tool_calls", "function_call", "error", "abort")
"""Other reasons than `stop` for an answer to end that are named; the server's own word for another is not repeated."""
NO_MONEY = "insufficient_quota"
"""Code of an error 429 that no waiting ends."""


class _Likely(BaseModel):
    token: str
    logprob: float


class _Token(BaseModel):
    token: str
    top_logprobs: list[_Likely] = []


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Reply(BaseModel):
    """Its first choice."""

    message: _Message = Field(validation_alias=AliasPath("choices", 0, "message"))
    finish_reason: str | None = Field(None, validation_alias=AliasPath("choices", 0, "finish_reason"))
    tokens: list[_Token] | None = Field(None, validation_alias=AliasPath("choices", 0, "logprobs", "content"))


@dataclass(frozen=True)
class OpenAiJudge(RemoteJudge):
    """Asks a model for the letter of one option, at temperature 0."""

    KNOWN: ClassVar[tuple[str, ...]] = (*IMAGE_REFUSED, NO_MONEY)
    RULE: ClassVar[str] = "images as GPT-4o counts them"

    base_url: str = OPENAI
    """The part of the address before /chat/completions."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; may be unset for servers other than OpenAI's."""
    logprobs: int = 0
    """Most likely tokens to ask for beside the answer, 20 at OpenAI; 0 gives no probabilities. A letter that is not
    among them has probability 0."""
    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the limit of the answer's length; newer models of OpenAI take only the second."""

    def _check_settings(self) -> None:
        bounds.whole("logprobs", self.logprobs, 0, MOST_LOGPROBS)

    def _identity(self) -> dict[str, Any]:
        return {"system": "openai", "settings": self._settings()}

    def _settings(self) -> dict[str, Any]:
        likely = {"logprobs": True, "top_logprobs": self.logprobs} if self.logprobs else {}
        return {"temperature": 0, self.limit_name: LONGEST_ANSWER, **likely}

    @staticmethod
    def image_tokens(width: int, height: int) -> int:
        """Tokens of an image as OpenAI's documents count them for GPT-4o at high detail.

        Scaled down into 2048 × 2048, then to a short side of 768, then 85 and 170 per 512 × 512 tile. Other models and
        servers count otherwise.
        """
        scale = min(1.0, 2048 / max(width, height))
        scale *= min(1.0, 768 / (scale * min(width, height)))
        tiles = math.ceil(round(width * scale) / 512) * math.ceil(round(height * scale) / 512)
        return 85 + 170 * tiles

    def _answers(self, images: Sequence[Picture], items: Sequence[str]) -> Iterator[tuple[int, Answer]]:
        return self._each(images, items)

    def _key(self) -> Secret:
        if address(self.base_url) == OPENAI or os.environ.get(self.key_variable):
            return key(self.key_variable)
        return Secret("")

    def _headers(self, secret: Secret) -> dict[str, str]:
        return {"Authorization": f"Bearer {secret.value}"} if secret else {}

    def _request(self, image: str, options: Sequence[str]) -> tuple[str, dict[str, Any]]:
        content = [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
            {"type": "text", "text": question(options)},
        ]
        messages = [{"role": "user", "content": content}]
        return "/chat/completions", {"model": self.model, "messages": messages, **self._settings()}

    def _read(self, reply: bytes) -> Answer:
        try:
            choice = _Reply.model_validate_json(reply)
        except ValidationError:
            raise Busy("malformed reply") from None
        if choice.message.refusal:
            return Answer(unanswered="refused")
        if choice.finish_reason not in ("stop", None):
            reason = choice.finish_reason if choice.finish_reason in ENDS else "unknown"
            return Answer(unanswered=f"finish_reason {reason}")
        text = choice.message.content or ""
        return Answer(text, chances=_chances(choice.tokens or [], letter(text, len(self.labels))))

    def _refusal(self, status: int, problem: Problem) -> Answer | None:
        if problem.code == NO_MONEY:
            raise InterpError(
                f"{self.system} answers no more: the account's quota is used up; raise it and measure again"
            )
        if status == 400 and problem.code in IMAGE_REFUSED:
            return Answer(unanswered=f"refused ({problem.code})")
        return None


def _chances(tokens: Sequence[_Token], named: str) -> dict[str, float]:
    """Probability by letter at the token that was the answer; empty where the server gave none."""
    answer = next((t for t in tokens if named and t.token.strip() == named), None)
    chances: Counter[str] = Counter()
    for likely in answer.top_logprobs if answer else []:
        name = likely.token.strip()
        if len(name) == 1 and name in LETTERS and not math.isnan(likely.logprob):
            # some servers round up to a little more than 0
            chances[name] += math.exp(min(likely.logprob, 0.0))  # pyright: ignore[reportArgumentType]
    return dict(chances)
