"""store.writing: whole files or none."""

import json
import os
from pathlib import Path

import pytest

from interp import store
from interp.errors import InterpError


class TestAtomicFiles:
    def test_a_file_is_replaced_and_nothing_else_is_left(self, tmp_path: Path):
        path = tmp_path / "new" / "a.bin"
        store.atomic_write_bytes(path, b"old")
        store.atomic_write_bytes(path, b"new")
        assert path.read_bytes() == b"new"
        assert list(path.parent.iterdir()) == [path]

    def test_a_reader_never_sees_half_a_file(self, tmp_path: Path):
        path = tmp_path / "a.bin"
        store.atomic_write_bytes(path, b"old")
        with path.open("rb") as reader:
            store.atomic_write_bytes(path, b"new and longer")
            assert reader.read() == b"old"

    def test_a_failed_write_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        path = tmp_path / "a.bin"
        store.atomic_write_bytes(path, b"old")

        def full_disk(_: int) -> None:
            raise OSError("no space left")

        monkeypatch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="no space"):
            store.atomic_write_bytes(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_file_gets_the_permissions_of_an_ordinary_one(self, tmp_path: Path):
        store.atomic_write_text(tmp_path / "ours", "x")
        (tmp_path / "plain").write_text("x")
        assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode

    def test_text_is_utf8(self, tmp_path: Path):
        store.atomic_write_text(tmp_path / "a", "Türk tarzı 中国")
        assert (tmp_path / "a").read_bytes() == "Türk tarzı 中国".encode()

    def test_json_round_trip(self, tmp_path: Path):
        value = {"ü": [1, 2.5, None, True], "b": {"c": "中"}}
        store.atomic_write_json(tmp_path / "a.json", value)
        assert json.loads((tmp_path / "a.json").read_text()) == value

    @pytest.mark.parametrize("number", [float("nan"), float("inf")])
    def test_json_has_no_nan(self, tmp_path: Path, number: float):
        with pytest.raises(InterpError, match="write null"):
            store.atomic_write_json(tmp_path / "a.json", {"x": number})
        assert not any(tmp_path.iterdir())
