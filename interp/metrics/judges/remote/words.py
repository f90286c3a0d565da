"""What of a server's own words an error may repeat: never a piece of the key, however it comes back.

Two rules, each of which would do for what servers are known to send. A message that shares a run of letters and digits
with the key, in any usual encoding of either, is not repeated at all. Of any other only what looks like plain English
is: tokens with digits, of mixed case or of one or two letters, which pieces of keys are, become an ellipsis.
"""

import base64
import codecs
import html
import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

RUN = 6
"""Letters and digits in a row that a message may not share with the key."""
LOOKED_AT = 2000
"""Characters of a message, from its beginning."""
LONGEST = 300
"""Characters that are repeated."""
ROUNDS = 3
"""Encodings of a message, one in another, that are undone."""
WORD = re.compile(r"(?:[A-Z]?[a-z]+|[A-Z]+)(?:[-_'](?:[A-Z]?[a-z]+|[A-Z]+))*")
LONGEST_WORD = 24
SHORT = {
    *("a", "ai", "am", "an", "as", "at", "be", "by", "do", "go", "he", "i", "id", "if", "in", "is", "it", "me", "my"),
    *("no", "of", "ok", "on", "or", "so", "to", "up", "us", "we"),
}
"""Words of one or two letters."""
GAP = "…"
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")


@dataclass(frozen=True)
class Secret:
    """A key, or '' for none; what prints it does not show it."""

    value: str = field(repr=False)

    def __bool__(self) -> bool:
        return bool(self.value)


def repeatable(message: str, secret: Secret, known: Collection[str] = ()) -> str:
    """What may be repeated of a server's message, in one line; '' if nothing.

    Args:
        message: the server's.
        secret: that was sent to it.
        known: tokens that may be repeated whatever they look like, such as the model's name.
    """
    message = message[:LOOKED_AT]
    if secret and shows(message, secret.value):
        return ""
    tokens = [t if (_plain(t, known) if secret else t.isprintable()) else GAP for t in message.split()]
    kept = [t for n, t in enumerate(tokens) if t != GAP or not n or tokens[n - 1] != GAP]
    if all(t == GAP for t in kept) or (secret and _pieces(kept, secret.value)):
        return ""
    return " ".join(kept)[:LONGEST]


def shows(text: str, secret: str) -> bool:
    """Whether a text shares a run with a secret, in any usual encoding of either."""
    size = min(RUN, max(len(_bare(secret)), 3))
    runs = {form[n : n + size] for form in _forms(secret) for n in range(len(form) - size + 1)}
    return any(bare[n : n + size] in runs for bare in _readings(text) for n in range(len(bare) - size + 1))


def _bare(text: str) -> str:
    """Letters and digits alone, in one case: what separates them does not matter."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def _letters(text: str) -> str:
    return "".join(c for c in _bare(text) if c.isalpha())


def _turned(secret: str) -> set[str]:
    """A secret by its own letters, each form bare; with the letters alone, for a reader who sees only those."""
    plain = (secret, secret[::-1], codecs.encode(secret, "rot13"))
    return {bare(text) for text in plain for bare in (_bare, _letters)}


def _forms(secret: str) -> set[str]:
    """A secret as it may come back, each form bare."""
    coded = set()
    for text in (secret, secret[::-1]):
        data = text.encode()
        coded |= {base64.b64encode(bytes(shift) + data).decode() for shift in range(3)}
        coded |= {base64.b32encode(data).decode(), data.hex(), data.hex()[::-1]}
    coded |= {text[::-1] for text in coded}
    return _turned(secret) | {_bare(text) for text in coded}


def _readings(text: str) -> Iterator[str]:
    """A text as it stands and with its encodings undone, each bare and by its letters alone."""
    seen = {text}
    for _ in range(ROUNDS):
        undone = (unquote_plus, html.unescape, lambda t: ESCAPE.sub(lambda m: chr(int(m[1] or m[2], 16)), t))
        seen |= {undo(t) for t in seen for undo in undone}
    for one in seen:
        yield from (_bare(one), _letters(one))


def _plain(token: str, known: Collection[str]) -> bool:
    """Whether a token is of English or a known one."""
    core = token.strip(".,;:!?()[]{}<>\"'`*")
    word = WORD.fullmatch(core) and len(core) <= LONGEST_WORD
    word = word and all(len(part) > 2 or part.lower() in SHORT for part in re.split("[-_']", core))
    return token.isascii() and token.isprintable() and bool(core in known or word or not core)


def _pieces(tokens: Collection[str], secret: str) -> bool:
    """Whether the words together may be pieces of a secret."""
    forms = _turned(secret)
    parts = {part for token in tokens for part in re.split(r"[^a-z]+", token.casefold()) if len(part) > 2}
    return sum(len(part) for part in parts if any(part in form for form in forms)) >= RUN
