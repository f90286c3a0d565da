"""store.journal: what is recorded survives a kill."""

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from interp.errors import InterpError, InterpWarning
from interp.store import Journal


class TestJournal:
    def test_units_come_back(self, tmp_path: Path):
        journal = Journal(tmp_path / "j")
        journal.record("图1", {"hit": [1.0, float("nan")], "answer": "Italy\n\u2028"})
        journal.record("none", None)
        for again in (journal, Journal(tmp_path / "j")):
            value = again.done("图1")
            assert value["answer"] == "Italy\n\u2028"
            np.testing.assert_array_equal(value["hit"], [1.0, np.nan])
            assert "none" in again
            assert "other" not in again
            assert again.done("other") is None
            assert len(again) == 2

    def test_every_cut_of_the_last_line_loses_that_unit_alone(self, tmp_path: Path):
        path = tmp_path / "j"
        journal = Journal(path)
        journal.record("a", 1)
        whole = len(path.read_bytes())
        journal.record("b", {"x": "ü"})
        data = path.read_bytes()
        for cut in range(whole, len(data)):
            path.write_bytes(data[:cut])
            torn = Journal(path)
            assert torn.done("a") == 1
            assert "b" not in torn
            torn.record("b", 2)
            torn.record("c", 3)
            assert [Journal(path).done(key) for key in "abc"] == [1, 2, 3]

    def test_a_damaged_line_is_dropped_aloud_and_done_again(self, tmp_path: Path):
        path = tmp_path / "j"
        journal = Journal(path, {"seed": 0})
        for key in "abc":
            journal.record(key, 1)
        whole = path.read_bytes()
        lines = whole.splitlines(keepends=True)
        for line in range(4):
            path.write_bytes(b"".join([*lines[:line], lines[line][:-9] + b"\n", *lines[line + 1 :]]))
            with pytest.warns(InterpWarning, match=f"line {line + 1} damaged"):
                torn = Journal(path, {"seed": 0})
            lost = [key for key in "abc" if key not in torn]
            assert lost == ([] if line == 0 else ["abc"[line - 1]])
            for key in lost:
                torn.record(key, 2)
            with pytest.warns(InterpWarning):
                assert [Journal(path, {"seed": 0}).done(k) for k in "abc"] == [2 if k in lost else 1 for k in "abc"]

    def test_no_flipped_bit_of_a_line_is_read_as_another_value(self, tmp_path: Path):
        path = tmp_path / "j"
        Journal(path, {"seed": 0}).record_all({"a": [1.5, True], "b": "Türkei"})
        whole = path.read_bytes()
        told = []
        for place in range(len(whole)):
            for bit in range(8):
                path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", InterpWarning)
                    try:
                        found = Journal(path, {"seed": 0})
                    except InterpError as error:
                        told.append(str(error))
                        continue
                assert found.done("a") in ([1.5, True], None) and found.done("b") in ("Türkei", None)
                assert len(found) <= 2
        assert not [line for line in told if "\n" in line]

    def test_a_strangers_file_is_not_touched(self, tmp_path: Path):
        (tmp_path / "thesis.txt").write_text("one line without an end")
        with pytest.raises(InterpError, match="not a journal"):
            Journal(tmp_path / "thesis.txt")
        assert (tmp_path / "thesis.txt").read_text() == "one line without an end"

    def test_several_processes_add_to_one(self, tmp_path: Path):
        code = (
            "import sys; from pathlib import Path; from interp.store import Journal\n"
            "journal = Journal(Path(sys.argv[1]))\n"
            "for i in range(200): journal.record(f'{sys.argv[2]}{i}', [i] * 50)\n"
        )
        running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "j"), name]) for name in "abc"]
        assert [process.wait() for process in running] == [0, 0, 0]
        assert len(Journal(tmp_path / "j")) == 600

    @pytest.mark.parametrize("text", ['{"other": 1}\n', "[1]\n", "words\n"])
    def test_another_file_is_refused(self, tmp_path: Path, text: str):
        (tmp_path / "j").write_text(text)
        with pytest.raises(InterpError, match="line 1"):
            Journal(tmp_path / "j")
        assert (tmp_path / "j").read_text() == text

    def test_other_settings_are_refused_by_name(self, tmp_path: Path):
        Journal(tmp_path / "j", {"seed": 0, "sets": (1, 2)}).record("a", 1)
        assert "a" in Journal(tmp_path / "j", {"sets": (1, 2), "seed": 0})
        with pytest.raises(InterpError, match="seed was 0, is 1"):
            Journal(tmp_path / "j", {"seed": 1, "sets": [1, 2]})

    def test_a_unit_is_recorded_once(self, tmp_path: Path):
        journal = Journal(tmp_path / "j")
        journal.record("a", 1)
        with pytest.raises(KeyError, match="recorded already"):
            journal.record("a", 2)
        assert Journal(tmp_path / "j").done("a") == 1

    def test_a_unit_is_on_disk_when_record_returns(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        journal, path, synced = Journal(tmp_path / "j"), tmp_path / "j", []
        monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.read_bytes()))
        journal.record("a", 1)
        assert [data.splitlines()[-1].startswith(b'{"key": "a", "value": 1, ') for data in synced] == [True]

    def test_a_killed_process_resumes(self, tmp_path: Path):
        code = (
            "import os, signal, sys; from pathlib import Path; from interp.store import Journal\n"
            "journal = Journal(Path(sys.argv[1]))\n"
            "for i in range(3): journal.record(str(i), i)\n"
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "j")], check=False)
        assert done.returncode == -signal.SIGKILL
        assert len(Journal(tmp_path / "j")) == 3
