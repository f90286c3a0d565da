"""What an id, a label, a language code or a path in a benchmark may be; anything else is refused in a sentence."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr

from interp.escapes import JOINERS

SHOWN = 20
"""Problems listed in one error; the rest are counted."""
LONGEST = 200
"""Bytes of an id or a label in UTF-8: file systems take 255, and more is put around them."""
DIRECTION_MARKS = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Marks of writing direction; the text itself says its direction."""
_LONGEST_PART, _LONGEST_PATH = 240, 1000
_FORBIDDEN = frozenset('/\\:*?"<>|')
"""What some file system does not take in a name."""
_DEVICES = frozenset(["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "123456789¹²³")])
"""Names that Windows keeps for itself, with any suffix."""
_SURROGATE = re.compile("[\ud800-\udfff]")


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank")
    if not text.isascii() and _SURROGATE.search(text):
        raise ValueError("holds half of a surrogate pair, which no file can store")
    if not unicodedata.is_normalized("NFC", text):
        raise ValueError("is not in Unicode form NFC; normalise the text and count its spans again")
    return text


def _named(characters: Iterable[str]) -> str:
    return ", ".join(sorted({f"{c!r} (U+{ord(c):04X})" if c.isprintable() else f"U+{ord(c):04X}" for c in characters}))


def _short(text: str) -> str:
    if (size := len(text.encode())) > LONGEST:
        raise ValueError(f"has {size:,} bytes in UTF-8; at most {LONGEST} are allowed")
    return text


def check_id(text: str) -> str:
    """The text; raises ValueError if it is no id, which becomes the name of files.

    An id is NFC text of printable characters, at most `LONGEST` bytes in UTF-8, without / \\ : * ? " < > |, with no dot
    or space at its ends, and none of the names that Windows keeps for itself.
    """
    if wrong := [c for c in _text(text) if c in _FORBIDDEN or not c.isprintable()]:
        raise ValueError(f"holds {_named(wrong)}, which no name of a file may; use letters, digits, - and _")
    if text[0] in ". " or text[-1] in ". ":
        raise ValueError("begins or ends with a dot or a space, which no name of a file may")
    if text.partition(".")[0].strip().lower() in _DEVICES:
        raise ValueError("is a name that Windows keeps for itself; add something to it")
    return _short(text)


def id_problem(text: str) -> str | None:
    """What keeps a text from being an id; None if nothing does."""
    try:
        check_id(text)
    except ValueError as error:
        return str(error)
    return None


def check_plain(text: str) -> str:
    """The text; raises ValueError if it holds control characters, line ends or marks of direction."""
    # the one call for the common case, thousands of times per benchmark
    if not text.isprintable():
        categories = ("Cc", "Cf", "Cs", "Zl", "Zp")
        if wrong := [c for c in text if unicodedata.category(c) in categories and c not in JOINERS]:
            raise ValueError(f"holds {_named(wrong)}, which shows nothing; remove it")
    return text


def _label(text: str) -> str:
    if wrong := [c for c in check_plain(text) if c in "/\\"]:
        raise ValueError(f"holds {_named(wrong)}, which separates folders; write a word, a space or - in its place")
    if text != text.strip() or text[0] == ".":
        raise ValueError("begins with a dot or a space, or ends with a space")
    return _short(text)


def _language(code: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]{1,8}([-_][A-Za-z0-9]{1,8}){0,4}", code):
        raise ValueError("is no code of a language such as ja or pt-BR")
    return code


def unique_id(text: str, texts: dict[str, str]) -> str:
    """The text if it is an id and no earlier one differs from it in case alone; else an id with a digest of it.

    Args:
        text: a source's name for a row.
        texts: `same_name` of every id so far → the text that it was made of; the new one is added.
    """
    name = text if id_problem(text) is None else _with_digest(text)
    if texts.setdefault(same_name(name), text) != text:
        name = _with_digest(text)
        texts[same_name(name)] = text
    return name


def _with_digest(text: str) -> str:
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
