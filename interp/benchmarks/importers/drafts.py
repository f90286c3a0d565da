"""What importers share: the draft of a row, the options, the log of what is wrong or left out, the report."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from interp.benchmarks.checks import Finding
from interp.benchmarks.importers.captions import Wording
from interp.benchmarks.splits import check_seed
from interp.bounds import printable, shown
from interp.errors import InterpError

EXAMPLES = 3
"""Rows named in the report for each reason to leave rows out."""


@dataclass(frozen=True)
class Draft:
    """One row as its source has it."""

    file: str
    row: int
    """Counted from 1 in the file, without a header."""
    id: str
    place: str
    """Country, code, region or culture, in the source's words."""
    category: str
    """The concept."""
    captions: Mapping[str, Wording]
    """By language; English has to be there."""
    picture: bytes | Path | None = None
    """None: to be looked for among the user's pictures."""
    url: str | None = None
    """Where the picture is from."""
    licence: str | None = None
    """Of the picture."""
    author: str | None = None
    """Of the picture."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the row: region, annotator, review and the same in English; those above, if unchecked."""


@dataclass(frozen=True)
class Options:
    """How to import."""

    seed: int
    """Of the split into train, test and detection, 7:2:1 within every culture."""
    name: str | None = None
    """Of the benchmark; that of the source if None."""
    licence: str | None = None
    """Of the data, where the source does not say; needed for `folder` and `datasets`."""
    labels: Literal["default", "all"] = "default"
    """`default`: rows of other cultures than the 15 are left out; `all`: every country is a culture."""
    bad: Literal["refuse", "leave"] = "refuse"
    """What to do if rows are wrong: `refuse` to import anything, or `leave` them out and count them."""
    places: Mapping[str, str] = field(default_factory=dict)
    """The source's word for a place → culture, where it is not known here or is to be another."""
    captions: Literal["native", "english"] = "native"
    """`native`: rows without a caption in their culture's language are left out of a source that has such captions;
    `english`: English in both."""
    images: Path | None = None
    """Folder with the pictures of a source that has none: named by the row's id or by the SHA-256 of their URL."""
    side: int | None = None
    """Longest side of the pictures in pixels; larger ones are reduced."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column → the source's, where it is another."""
    part: str | None = None
    """Which split of a data set with several; all of them if None."""
    annotations: Path | None = None
    """CulturalVQA: a CSV with the columns u_id, country and answer, which the public files lack."""
    longest: int = 60
    """Tux Paint: longest name, in characters."""
    skip: tuple[str, ...] = ("symbols",)
    """Tux Paint: folders of stamps to leave out."""
    svg: bool = False
    """Tux Paint: draw stamps that are there as SVG only; needs the package resvg-py."""


_BOUNDS = {"side": 65_535, "longest": 10_000}
_ALLOWED = {"labels": ("default", "all"), "captions": ("native", "english"), "bad": ("refuse", "leave")}


def options(given: Mapping[str, Any]) -> Options:
    """The options, checked.

    Raises:
        InterpError: if one is unknown, the seed is missing, or a value is none of the allowed ones.
    """
    known = [f.name for f in fields(Options)]
    if unknown := sorted(set(given) - set(known)):
        raise InterpError(f"unknown option {unknown[0]!r}; known: {', '.join(known)}")
    if not isinstance(given.get("seed"), int):
        raise InterpError(f"option seed: the split needs a whole number (found {shown(given.get('seed'))})")
    check_seed(given["seed"])
    for name, most in _BOUNDS.items():
        value = given.get(name)
        if value is not None and not (isinstance(value, int) and 1 <= value <= most):
            raise InterpError(f"option {name}: a whole number from 1 to {most:,} is needed (found {shown(value)})")
    for name, allowed in _ALLOWED.items():
        if given.get(name, allowed[0]) not in allowed:
            raise InterpError(f"option {name}: {shown(given[name])} is not one of {', '.join(allowed)}")
    for name in ("images", "annotations"):
        if (at := given.get(name)) is not None and not Path(at).exists():
            raise InterpError(f"option {name}: there is no {at}")
    paths = {name: Path(given[name]) for name in ("images", "annotations") if given.get(name) is not None}
    return Options(**{**given, **paths})


class Log:
    """Collects what is wrong with a source and what is left out of it."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.read = 0
        """Rows read."""
        self._left: dict[str, Counter[str]] = defaultdict(Counter)

    def bad(self, file: str, row: int | None, field: str, message: str) -> None:
        """Note an error: nothing will be written."""
        self.findings.append(Finding(file, row, field, message))

    def leave(self, reason: str, what: str) -> None:
        """Note a row that is left out."""
        self._left[reason][printable(what, 200)] += 1

    def forgive(self) -> None:
        """Take the rows with errors as left out; what is wrong with a whole file stays an error."""
        for finding in self.findings:
            if finding.row is not None:
                where = f"{finding.file} row {finding.row}: {finding.message}"
                self.leave(f"something is wrong with {finding.field or 'the row'}", where)
        self.findings = [f for f in self.findings if f.row is None]

    def left(self) -> dict[str, "LeftOut"]:
        """What was left out, by reason."""
        return {r: LeftOut(n.total(), tuple(n)[:EXAMPLES], len(n)) for r, n in self._left.items()}


@dataclass(frozen=True)
class LeftOut:
    """Rows left out for one reason."""

    count: int
    examples: tuple[str, ...]
    """The first of them."""
    different: int
    """How many different ones there are."""

    def __str__(self) -> str:
        more = ", …" if self.different > len(self.examples) else ""
        return f"{self.count} ({', '.join(self.examples)}{more})"


@dataclass(frozen=True)
class Report:
    """What an import did."""

    source: str
    folder: Path
    licence: str
    read: int
    """Rows of the source; one row may give several samples, a picture or a language each."""
    imported: int
    """Samples written."""
    pictures: int
    """Different pictures written."""
    left_out: Mapping[str, LeftOut]
    """By reason."""
    cultures: Mapping[str, int]
    """Samples of each culture."""
    splits: Mapping[str, int]
    """Samples of each split."""

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {self.read} rows read, {self.imported} samples with {self.pictures} pictures written to "
            f"{self.folder}",
            f"licence: {self.licence}",
            "cultures: " + ", ".join(f"{c} {n}" for c, n in self.cultures.items()),
            "splits: " + ", ".join(f"{s} {n}" for s, n in self.splits.items()),
        ]
        lines += (f"left out, {reason}: {out}" for reason, out in self.left_out.items())
        return "\n".join(lines)
