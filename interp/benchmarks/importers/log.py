"""What is wrong with a source and what is left out of it, and the report of an import."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from interp.benchmarks.checks import Finding
from interp.bounds import printable

EXAMPLES = 3
"""Rows named in the report for each reason to leave rows out."""


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
