"""The finished units of a long stage, one line each, so that a run that was killed goes on from there."""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from interp.errors import InterpError, InterpWarning
from interp.store.digests import sha256_record
from interp.store.writing import hold

_DIGITS = 16
"""Of a line's digest."""


class Journal:
    """Finished units by key, each on disk when `record` returns.

    Every line holds a digest over itself and the journal's settings: a damaged one is dropped with a warning, and its
    unit is done again. Several processes may add to one journal.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any] | None = None) -> None:
        """Open or begin a journal.

        Args:
            path: the file.
            settings: what the units depend on, kept in its first line.

        Raises:
            InterpError: the file was begun with other settings, or is no journal.
        """
        self.path = path
        self._settings = json.loads(json.dumps(settings or {}))
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as file:
            data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            first, *rest = whole.split(b"\n")[:-1] or [data]
            entries = [self._entry(line) for line in rest]
            self._units: dict[str, Any] = {entry["key"]: entry["value"] for entry in entries if entry}
            lost = [] if self._begins(data) or self._is_ours(first, any(entries)) else [1]
            lost += [number for number, entry in enumerate(entries, 2) if entry is None]
            # a torn last line is cut off, so that the next does not run into it
            file.truncate(len(whole))
            if not whole:
                self._append(file, [self._header()])
        if lost:
            some = f"line {lost[0]}" + f" and {len(lost) - 1} more" * (len(lost) > 1)
            warnings.warn(f"{path}: {some} damaged; what they held is done again", InterpWarning, stacklevel=2)

    def _begins(self, data: bytes) -> bool:
        """Whether a file is new, or its first line was being written when the process was killed."""
        return b"\n" not in data and self._header().encode().startswith(data)

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        """The file, held against other processes, at its beginning."""
        with self.path.open("a+b", buffering=0) as file:
            hold(file.fileno())
            file.seek(0)
            yield file  # type: ignore[misc]

    def _header(self) -> str:
        return json.dumps({"settings": self._settings, "sha256": self._digest("")})

    def _digest(self, content: Any) -> str:
        return sha256_record([self._settings, content])[:_DIGITS]

    def _is_ours(self, line: bytes, known: bool) -> bool:
        """Refuse other settings, or no journal: False if its first line is damaged, but one of its units is `known`."""
        header = _parsed(line, {"settings", "sha256"})
        if header is None or header["sha256"] != sha256_record([header["settings"], ""])[:_DIGITS]:
            if not known:
                raise InterpError(f"{self.path}, line 1: not a journal's line; remove the file to start again")
            return False
        before, now = header["settings"], self._settings
        if other := sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k)):
            was = ", ".join(f"{k} was {before.get(k)!r}, is {now.get(k)!r}" for k in other)
            raise InterpError(f"{self.path} was begun with other settings ({was}); name another folder or remove it")
        return True

    def _entry(self, line: bytes) -> dict[str, Any] | None:
        """The unit of a line; None if the line is damaged."""
        entry = _parsed(line, {"key", "value", "sha256"})
        sound = entry is not None and entry["sha256"] == self._digest([entry["key"], entry["value"]])
        return entry if sound else None

    def __contains__(self, key: str) -> bool:
        return key in self._units

    def __len__(self) -> int:
        return len(self._units)

    def done(self, key: str) -> Any | None:
        """The value recorded for a unit; None if it is not done."""
        return self._units.get(key)

    def record(self, key: str, value: Any) -> None:
        """Add a finished unit; it is on disk when this returns. NaN comes back as NaN.

        Raises:
            KeyError: if the unit is recorded already.
        """
        self.record_all({key: value})

    def record_all(self, units: Mapping[str, Any]) -> None:
        """Add several finished units with one write to the disk.

        Raises:
            KeyError: if one of them is recorded already; none is added.
        """
        if again := [key for key in units if key in self._units]:
            raise KeyError(f"{self.path}: unit {again[0]!r} is recorded already")
        # as they will be read: tuples become lists
        plain = json.loads(json.dumps(dict(units)))
        lines = [
            json.dumps({"key": key, "value": value, "sha256": self._digest([key, value])}, ensure_ascii=False)
            for key, value in plain.items()
        ]
        if lines:
            with self._open() as file:
                self._append(file, lines)
        self._units.update(plain)

    @staticmethod
    def _append(file: BinaryIO, lines: list[str]) -> None:
        """Add whole lines; what a full disk cuts off is taken back."""
        end = file.seek(0, os.SEEK_END)
        try:
            view = memoryview("".join(line + "\n" for line in lines).encode())
            while view:
                view = view[file.write(view) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def _parsed(line: bytes, fields: set[str]) -> dict[str, Any] | None:
    """The object of a line; None if it is not one with these fields."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and entry.keys() == fields else None
