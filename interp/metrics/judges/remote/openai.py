"""A judge behind any OpenAI-compatible endpoint for chat completions that reads pictures."""

import base64
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from interp import bounds
from interp.benchmarks.images import Picture
from interp.errors import InterpError
from interp.metrics.judges.base import LETTERS, question
from interp.metrics.judges.remote import client as remote
from interp.metrics.judges.remote.client import Estimate, RemoteJudge
from interp.metrics.judges.remote.sender import Answer, Busy
from interp.metrics.judges.remote.words import Secret, told

if TYPE_CHECKING:
    import httpx2

OPENAI = "https://api.openai.com/v1"
MOST_LOGPROBS = 1000
LONGEST_ANSWER = 8
"""Tokens: a letter in brackets has three."""
PICTURE_REFUSED = ("content_filter", "content_policy_violation")
"""Codes of an error 400 that refuses one picture and not the request's form."""
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


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Reply(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


class _Problem(BaseModel):
    message: str = ""
    code: str | int | None = None


class _Refusal(BaseModel):
    error: _Problem


@dataclass(frozen=True)
class OpenAiJudge(RemoteJudge):
    """Asks a model for the letter of one option, at temperature 0."""

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

    @property
    def digest(self) -> str:
        """Of the question, the labels, the model's name, the address and the settings; the server's weights can change
        under it."""
        where = remote.address(self.base_url)
        return remote.digest(self.labels, system="openai", model=self.model, base_url=where, settings=self._settings())

    def _settings(self) -> dict[str, Any]:
        asked = {"logprobs": True, "top_logprobs": self.logprobs} if self.logprobs else {}
        return {"temperature": 0, self.limit_name: LONGEST_ANSWER, **asked}

    def estimate(self, pictures: Sequence[Picture]) -> Estimate:
        """What asking about them will about cost."""
        return remote.estimate(pictures, self.labels, picture_tokens, "pictures as GPT-4o counts them", self.price)

    def _answers(self, pictures: Sequence[Picture], items: Sequence[str]) -> Iterator[tuple[int, Answer]]:
        where, secret = remote.address(self.base_url), self._key()
        with remote.client(where, self.sender, _headers(secret)) as client:
            send = partial(self._send, client, f"{where}/chat/completions", secret)
            yield from self._each(send, pictures, items)

    def _key(self) -> Secret:
        if remote.address(self.base_url) == OPENAI or os.environ.get(self.key_variable):
            return remote.key(self.key_variable)
        return Secret("")

    def _send(
        self, client: "httpx2.Client", url: str, secret: Secret, picture: Picture, options: Sequence[str]
    ) -> Answer:
        """Ask once."""
        data = base64.b64encode(remote.png(picture)).decode()
        content = [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
            {"type": "text", "text": question(options)},
        ]
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], **self._settings()}
        with remote.transport():
            response = client.post(url, json=body)
        return self._read(response) if response.is_success else self._refused(response, secret)

    def _read(self, response: "httpx2.Response") -> Answer:
        choice = _first(response)
        if choice is None:
            raise Busy("malformed reply")
        if choice.message.refusal:
            return Answer(unanswered="refused")
        if choice.finish_reason not in ("stop", None):
            reason = choice.finish_reason if choice.finish_reason in ENDS else "unknown"
            return Answer(unanswered=f"finish_reason {reason}")
        text = choice.message.content or ""
        return Answer(text, chances=_chances(choice.logprobs, remote.letter(text, len(self.labels))))

    def _refused(self, response: "httpx2.Response", secret: Secret) -> Answer:
        code, words = _problem(response, secret, self.model)
        if response.status_code == 400 and code in PICTURE_REFUSED:
            return Answer(unanswered=f"refused ({code})")
        if code == NO_MONEY:
            raise InterpError(
                f"{self.system} answers no more: the account's quota is used up; raise it and measure again"
            )
        after = remote.retry_after(response.headers.get("retry-after"), self.sender.clock)
        raise remote.failure(self.system, response.status_code, words, after)


def _headers(secret: Secret) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret.value}"} if secret else {}


def _first(response: "httpx2.Response") -> _Choice | None:
    """The answer of a reply; None if it is malformed."""
    try:
        return _Reply.model_validate_json(response.content).choices[0]
    except ValidationError:
        return None


def _problem(response: "httpx2.Response", secret: Secret, model: str) -> tuple[str, str]:
    """Code, if it is a known one, and words of a refusal; what cannot be repeated ends here."""
    try:
        problem = _Refusal.model_validate_json(response.content).error
    except ValidationError:
        problem = _Problem(message=response.content.decode(errors="replace"))
    code = str(problem.code) if problem.code in (*PICTURE_REFUSED, NO_MONEY) else ""
    return code, told(problem.message, secret, {model})


def _chances(logprobs: _Logprobs | None, given: str) -> dict[str, float]:
    """Probability by letter at the token that was the answer; empty where the server gave none."""
    tokens = (logprobs.content if logprobs else None) or []
    at = next((t for t in tokens if given and t.token.strip() == given), None)
    out: Counter[str] = Counter()
    for likely in at.top_logprobs if at else []:
        own = likely.token.strip()
        if len(own) == 1 and own in LETTERS and not math.isnan(likely.logprob):
            # some servers round up to a little more than 0
            out[own] += math.exp(min(likely.logprob, 0.0))  # pyright: ignore[reportArgumentType]
    return dict(out)


def picture_tokens(width: int, height: int) -> int:
    """Tokens of a picture as OpenAI's documents count them for GPT-4o at high detail.

    Scaled down into 2048 × 2048, then to a short side of 768, then 85 and 170 for every 512 × 512 tile. Other models
    and servers count otherwise.
    """
    scale = min(1.0, 2048 / max(width, height))
    scale *= min(1.0, 768 / (scale * min(width, height)))
    tiles = math.ceil(round(width * scale) / 512) * math.ceil(round(height * scale) / 512)
    return 85 + 170 * tiles
