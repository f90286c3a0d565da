"""What an id, a label, a language code or a path in a benchmark may be; anything else is told in a sentence."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    StrictStr,
)

SHOWN = 20
"""Problems listed in one error; the rest are counted."""
LONGEST = 200
"""Bytes of an id or a label in UTF-8: file systems take 255, and more is put around them."""
_LONGEST_PART, _LONGEST_PATH = 240, 1000
_FORBIDDEN = frozenset('/\\:*?"<>|')
"""What some file system does not take in a name."""
_DEVICES = frozenset(["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "123456789¹²³")])
"""Names that Windows keeps for itself, with any suffix."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_JOINERS = "\u200c\u200d"
"""Invisible, but part of how Persian, Hindi and others are written."""


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank")
    if not text.isascii() and _SURROGATE.search(text):
        raise ValueError("holds half of a surrogate pair, which no file can store")
    if not unicodedata.is_normalized("NFC", text):
        raise ValueError("is not in Unicode form NFC; normalise the text and count its spans again")
    return text


def _invisible(character: str) -> bool:
    """Whether it is a control character, a mark of direction, or anything else that shows nothing and is no space."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _named(characters: Iterable[str]) -> str:
    return ", ".join(sorted({f"{c!r} (U+{ord(c):04X})" if c.isprintable() else f"U+{ord(c):04X}" for c in characters}))


def id_problem(text: str) -> str | None:
    """What keeps a text from being an id, which becomes the name of files; None if nothing does.

    An id is NFC text of printable characters, at most `LONGEST` bytes in UTF-8, without / \\ : * ? " < > |, with no dot
    or space at its ends, and none of the names that Windows keeps for itself.
    """
    try:
        _text(text)
    except ValueError as error:
        return str(error)
    if wrong := [c for c in text if c in _FORBIDDEN or not c.isprintable()]:
        return f"holds {_named(wrong)}, which no name of a file may; use letters, digits, - and _"
    if text[0] in ". " or text[-1] in ". ":
        return "begins or ends with a dot or a space, which no name of a file may"
    if text.partition(".")[0].strip().lower() in _DEVICES:
        return "is a name that Windows keeps for itself; add something to it"
    return _too_long(text)


def _too_long(text: str) -> str | None:
    size = len(text.encode())
    return f"has {size:,} bytes in UTF-8; at most {LONGEST} are allowed" if size > LONGEST else None


def check_id(text: str) -> str:
    """The text; raises ValueError if it is no id."""
    if problem := id_problem(text):
        raise ValueError(problem)
    return text


def check_plain(text: str) -> str:
    """The text; raises ValueError if it holds control characters, line ends or marks of direction."""
    # the one call for the common case, thousands of times a benchmark
    if not text.isprintable() and (wrong := [c for c in text if _invisible(c) and c not in _JOINERS]):
        raise ValueError(f"holds {_named(wrong)}, which shows nothing; remove it")
    return text


def _label(text: str) -> str:
    if wrong := [c for c in check_plain(text) if c in "/\\"]:
        raise ValueError(f"holds {_named(wrong)}, which separates folders; write a word, a space or - in its place")
    if text != text.strip() or text[0] == ".":
        raise ValueError("begins with a dot or a space, or ends with a space")
    if problem := _too_long(text):
        raise ValueError(problem)
    return text


def _language(code: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]{1,8}([-_][A-Za-z0-9]{1,8}){0,4}", code):
        raise ValueError("is no code of a language such as ja or pt-BR")
    return code


def sound_id(text: str) -> str:
    """The text if it is an id, else one that is made of it: other characters are left out, and a digest of the whole
    text is added, so that no two texts give the same."""
    return text if id_problem(text) is None else told_apart(text)


def told_apart(text: str) -> str:
    """An id that is made of a text and of a digest of it."""
    # what stands for half of a surrogate pair cannot be encoded, and has a digest, too
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    kept = "".join(c if c.isprintable() and c not in _FORBIDDEN else "-" for c in unicodedata.normalize("NFC", text))
    head = kept.encode()[: LONGEST - 1 - len(digest)].decode(errors="ignore").strip(". ")
    return f"{head}-{digest}" if id_problem(f"{head}-{digest}") is None else f"id-{digest}"


def same_name(text: str) -> str:
    """The same for texts that some file system takes for one name: case and Unicode form are passed over."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or "\\" in path or ":" in path or ".." in parts or not parts:
        raise ValueError("must be a path inside the folder, such as images/0001.png")
    if max(len(part.encode()) for part in parts) > _LONGEST_PART or len(path.encode()) > _LONGEST_PATH:
        raise ValueError(f"has a name of over {_LONGEST_PART} bytes, or over {_LONGEST_PATH} as a whole; shorten it")
    return check_plain(path)


Text = Annotated[StrictStr, AfterValidator(_text)]
Id = Annotated[StrictStr, AfterValidator(check_id)]
Label = Annotated[Text, AfterValidator(_label)]
"""A culture; it may become part of the name of a file."""
Language = Annotated[Text, AfterValidator(_language)]
Category = Annotated[Text, AfterValidator(check_plain)]
Sha256 = Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$")]
ImagePath = Annotated[Text, AfterValidator(_inside)]
