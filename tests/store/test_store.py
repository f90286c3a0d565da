"""Whole files or none, manifests that refuse, journals that survive a kill."""

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from interp import store
from interp.errors import InterpError, InterpWarning
from interp.store import Journal, ManifestError


def git(folder: Path, *arguments: str) -> None:
    name = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run(["git", "-C", str(folder), *name, *arguments], check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-m", "x")


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


class TestAtomicFolder:
    def test_it_appears_whole(self, tmp_path: Path):
        target = tmp_path / "runs" / "a"
        with store.atomic_folder(target) as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / "f").write_text("x")
            assert not target.exists()
        assert (target / "deep" / "f").read_text() == "x"
        assert list(target.parent.iterdir()) == [target]

    @pytest.mark.parametrize("existing", ["refuse", "replace", "keep"])
    def test_an_error_leaves_nothing(self, tmp_path: Path, existing: str):
        def fill() -> None:
            with store.atomic_folder(tmp_path / "a", existing) as folder:
                (folder / "f").write_text("x")
                raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            fill()
        assert not any(tmp_path.iterdir())

    def test_an_existing_folder_is_refused_before_any_work(self, tmp_path: Path):
        (tmp_path / "a").mkdir()
        with pytest.raises(InterpError, match="exists; remove it"), store.atomic_folder(tmp_path / "a"):
            pytest.fail("the block ran")

    @pytest.mark.parametrize(("existing", "text"), [("replace", "new"), ("keep", "old")])
    def test_an_existing_folder_is_replaced_or_kept(self, tmp_path: Path, existing: str, text: str):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "f").write_text("old")
        (tmp_path / "a" / "only-old").touch()
        with store.atomic_folder(tmp_path / "a", existing) as folder:
            (folder / "f").write_text("new")
        assert (tmp_path / "a" / "f").read_text() == text
        assert (tmp_path / "a" / "only-old").exists() == (existing == "keep")
        assert list(tmp_path.iterdir()) == [tmp_path / "a"]

    def test_a_folder_that_appears_meanwhile_is_not_overwritten(self, tmp_path: Path):
        def race() -> None:
            with store.atomic_folder(tmp_path / "a") as folder:
                (folder / "f").write_text("mine")
                (tmp_path / "a").mkdir()
                (tmp_path / "a" / "f").write_text("theirs")

        with pytest.raises(OSError, match="not empty"):
            race()
        assert (tmp_path / "a" / "f").read_text() == "theirs"
        assert list(tmp_path.iterdir()) == [tmp_path / "a"]


class TestDigests:
    def test_a_file_and_its_bytes(self, tmp_path: Path):
        (tmp_path / "a").write_bytes(b"abc")
        known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert store.sha256_file(tmp_path / "a") == store.sha256_bytes(b"abc") == known

    def test_tensors_in_any_order_and_layout(self):
        a, b = np.arange(6.0).reshape(2, 3), b"raw"
        assert store.sha256_tensors({"a": a, "b": b}) == store.sha256_tensors({"b": b, "a": np.asfortranarray(a)})

    def test_tensors_differ_by_name_type_shape_and_value(self):
        a = np.arange(6.0).reshape(2, 3)
        others = [{"b": a}, {"a": a.view(np.int64)}, {"a": a.reshape(3, 2)}, {"a": a + 1}, {"a": a, "b": b""}]
        digests = {store.sha256_tensors(t) for t in [{"a": a}, {"a": a.tobytes()}, *others]}
        assert len(digests) == 7


class TestCacheDir:
    def test_the_environment_names_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "c"))
        assert store.cache_dir() == tmp_path / "c"
        assert (tmp_path / "c").is_dir()

    def test_else_it_is_the_users(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv("INTERP_CACHE", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("HOME", str(tmp_path))
        assert store.cache_dir().is_relative_to(tmp_path)


class TestManifest:
    def test_round_trip(self, tmp_path: Path):
        manifest = store.new_manifest(
            "interp report --model pocket",
            config={"strength": 6.0, "layers": [1, 2], "noun": "زهرة"},
            seeds={"image": [0, 1], "sae": 3},
            model_digest="abc",
            device="cpu",
            certificate={"rows_sum_to_one": True},
        ).finished()
        store.write_manifest(tmp_path, manifest)
        assert store.read_manifest(tmp_path) == manifest

    def test_it_says_what_ran(self):
        manifest = store.new_manifest("x")
        assert manifest.versions["numpy"] == np.__version__
        assert manifest.versions["python"].split(".")[:2] == [str(n) for n in sys.version_info[:2]]
        assert manifest.started.utcoffset() is not None
        assert manifest.wall_seconds is None

    def test_versions_import_nothing(self):
        code = (
            "import sys; from interp import store; store.new_manifest('x')\n"
            "sys.exit(str(sys.modules.keys() & {'torch', 'nnsight', 'sae_lens', 'transformers', 'diffusers'} or 0))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.stderr.strip() == "0"

    def test_wall_time(self):
        seconds = store.new_manifest("x").finished().wall_seconds
        assert seconds is not None
        assert 0 <= seconds < 60

    def test_a_folder_without_one_is_refused(self, tmp_path: Path):
        with pytest.raises(ManifestError, match=r"no manifest\.json"):
            store.read_manifest(tmp_path)

    @pytest.mark.parametrize("change", [{"comand": "x"}, {"started": "2026-01-01T00:00:00"}, {"seeds": {"a": "b"}}])
    def test_a_wrong_one_is_refused(self, tmp_path: Path, change: dict[str, object]):
        good = json.loads(store.new_manifest("x").model_dump_json())
        store.write_sealed(tmp_path / "manifest.json", good | change)
        with pytest.raises(ManifestError, match=next(iter(change))) as error:
            store.read_manifest(tmp_path)
        assert "\n" not in str(error.value)

    def test_a_torn_one_is_refused(self, tmp_path: Path):
        store.write_manifest(tmp_path, store.new_manifest("x"))
        path = tmp_path / "manifest.json"
        path.write_text(path.read_text()[:-20])
        with pytest.raises(ManifestError, match="not JSON"):
            store.read_manifest(tmp_path)

    def test_nan_is_no_setting(self):
        with pytest.raises(ValidationError, match="not JSON compliant"):
            store.new_manifest("x", config={"strength": float("nan")})


class TestGitState:
    def test_a_checkout(self, tmp_path: Path):
        git(tmp_path, "init")
        package = tmp_path / "pkg"
        package.mkdir()
        (package / "a.py").write_text("1")
        assert store.git_state(package) == (None, None)
        commit(tmp_path)
        head, dirty = store.git_state(package)
        assert head is not None
        assert len(head) == 40
        assert dirty is False

    @pytest.mark.parametrize(
        ("name", "expected"), [("pkg/a.py", True), ("pkg/new.py", True), ("README", True), ("reports/r/f", False)]
    )
    def test_what_makes_it_dirty(self, tmp_path: Path, name: str, expected: bool):
        git(tmp_path, "init")
        (tmp_path / "pkg").mkdir()
        (tmp_path / "pkg" / "a.py").write_text("1")
        commit(tmp_path)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("2")
        assert store.git_state(tmp_path / "pkg")[1] is expected

    def test_an_install_in_someone_elses_checkout_has_no_commit(self, tmp_path: Path):
        git(tmp_path, "init")
        (tmp_path / ".gitignore").write_text(".venv\n")
        commit(tmp_path)
        package = tmp_path / ".venv" / "pkg"
        package.mkdir(parents=True)
        (package / "a.py").write_text("1")
        assert store.git_state(package) == (None, None)

    def test_no_repository_and_no_git(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        assert store.git_state(tmp_path) == (None, None)
        monkeypatch.setenv("PATH", "")
        assert store.git_state(tmp_path) == (None, None)


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
