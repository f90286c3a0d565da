"""store.folders: whole or not at all, in one step, and never what is not ours."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from interp import store
from interp.errors import InterpError
from interp.store import folders

OWNED = store.Owned("boxes", "box.json", "box", ("box.json", "lid.bin"))


def box(path: Path, text: str) -> None:
    with store.atomic_folder(path, "replace", OWNED) as folder:
        store.write_sealed(folder / "box.json", {"kind": "box", "text": text})
        store.atomic_write_bytes(folder / "lid.bin", text.encode())


def run(code: str, *arguments: object, **more) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "import os, signal, sys, time\nfrom pathlib import Path\n" + code]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False, **more)


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


class TestReplacing:
    def test_ours_is_replaced(self, tmp_path: Path):
        for text in ("one", "two"):
            box(tmp_path / "b", text)
        assert store.read_sealed(tmp_path / "b" / "box.json", "")["text"] == "two"
        assert [p.name for p in tmp_path.iterdir()] == ["b"]

    @pytest.mark.parametrize(
        ("files", "said"),
        [
            ({"thesis.tex": "years"}, "thesis.tex"),
            ({"box.json": '{"kind": "box"}'}, "box.json"),
            ({"box.json": "sealed", "notes/a.txt": "mine"}, "notes"),
            ({"lid.bin": "somebody's"}, "lid.bin"),
            ({"SHA256SUMS": "0" * 64 + "  a"}, "SHA256SUMS"),
        ],
    )
    def test_anything_else_is_refused_and_kept(self, tmp_path: Path, files: dict[str, str], said: str):
        place = tmp_path / "work"
        for name, text in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
        if files.get("box.json") == "sealed":
            store.write_sealed(place / "box.json", {"kind": "box"})
        before = {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}
        with pytest.raises(InterpError, match=f"work holds {said}, which is not a part of earlier boxes") as error:
            box(place, "new")
        assert "\n" not in str(error.value)
        assert {p: p.read_bytes() for p in place.rglob("*") if p.is_file()} == before
        assert [p.name for p in tmp_path.iterdir()] == ["work"]

    def test_what_comes_while_the_new_one_is_made_is_kept(self, tmp_path: Path):
        box(tmp_path / "b", "one")

        def late() -> None:
            with store.atomic_folder(tmp_path / "b", "replace", OWNED) as folder:
                store.write_sealed(folder / "box.json", {"kind": "box"})
                (tmp_path / "b" / "thesis.tex").write_text("years")

        with pytest.raises(InterpError, match=r"holds thesis\.tex"):
            late()
        assert (tmp_path / "b" / "thesis.tex").read_text() == "years"

    def test_the_working_folder_is_refused_before_anything_is_lost(self, tmp_path: Path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InterpError, match="is the working folder"):
            box(Path("."), "x")
        (tmp_path / "sub").mkdir()
        box(Path("sub"), "x")
        assert store.read_sealed(tmp_path / "sub" / "box.json", "")["text"] == "x"

    def test_a_link_is_followed(self, tmp_path: Path):
        box(tmp_path / "real", "one")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        box(tmp_path / "link", "two")
        assert (tmp_path / "link").is_symlink()
        assert store.read_sealed(tmp_path / "real" / "box.json", "")["text"] == "two"

    def test_a_reader_never_finds_the_folder_missing(self, tmp_path: Path):
        box(tmp_path / "b", "0")
        seen, stop = [], threading.Event()

        def read() -> None:
            while not stop.is_set():
                seen.append((tmp_path / "b").is_dir())

        reader = threading.Thread(target=read)
        reader.start()
        for n in range(60):
            box(tmp_path / "b", str(n))
        stop.set()
        reader.join()
        assert len(seen) > 100 and all(seen)

    def test_without_the_one_step_a_kill_between_the_two_is_mended(self, tmp_path: Path, monkeypatch):
        monkeypatch.setattr(folders, "_exchanged", lambda one, other: False)
        box(tmp_path / "b", "one")
        box(tmp_path / "b", "two")
        assert store.read_sealed(tmp_path / "b" / "box.json", "")["text"] == "two"
        assert [p.name for p in tmp_path.iterdir()] == ["b"]
        (tmp_path / "b").rename(tmp_path / ".b.0123456789ab.aside")
        box(tmp_path / "c", "other")
        assert not (tmp_path / "b").exists()
        with pytest.raises(RuntimeError), store.atomic_folder(tmp_path / "b", "replace", OWNED):
            raise RuntimeError
        assert store.read_sealed(tmp_path / "b" / "box.json", "")["text"] == "two"


class TestKills:
    def test_a_kill_at_any_time_leaves_the_old_or_the_new(self, tmp_path: Path):
        """Twenty kills at random moments while a folder is replaced again and again."""
        code = """
from tests_box import box
n = 0
print("ready", flush=True)
while True:
    box(Path(sys.argv[1]), str(n))
    n += 1
"""
        (tmp_path / "code").mkdir()
        body = Path(__file__).read_text(encoding="utf-8")
        start, end = body.index("OWNED ="), body.index("def run(")
        head = "from pathlib import Path\nfrom interp import store\n"
        (tmp_path / "code" / "tests_box.py").write_text(head + body[start:end])
        place = tmp_path / "out" / "b"
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "code")}
        preamble = "import os, signal, sys, time\nfrom pathlib import Path\n"
        for kill in range(20):
            process = subprocess.Popen(
                [sys.executable, "-c", preamble + code, str(place)], env=environment, stdout=subprocess.PIPE
            )
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            time.sleep(0.004 * kill)
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
            if place.exists():
                text = store.read_sealed(place / "box.json", "")["text"]
                assert (place / "lid.bin").read_bytes() == text.encode()
        time.sleep(folders._YOUNG)  # an empty one may be another process's that has not locked it yet
        box(place, "end")
        assert [p.name for p in place.parent.iterdir()] == ["b"], "what the killed left is swept"

    def test_orphans_go_and_what_is_being_written_stays(self, tmp_path: Path):
        code = """
from interp import store
with store.atomic_folder(Path(sys.argv[1])) as folder:
    (folder / "big").write_bytes(b"x" * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
"""
        run(code, tmp_path / "a")
        (left,) = tmp_path.iterdir()
        assert left.name.endswith(".partial") and (left / "big").stat().st_size == 1000
        with store.atomic_folder(tmp_path / "b") as other:
            (other / "f").write_text("x")
            store.sweep(tmp_path)
            assert not left.exists() and other.exists(), "the orphan went, the live one stayed"
        (tmp_path / ".mine.partial").write_text("x")
        (tmp_path / ".x.0123456789ab.txt").write_text("x")
        store.sweep(tmp_path)
        assert {p.name for p in tmp_path.iterdir()} == {"b", ".mine.partial", ".x.0123456789ab.txt"}


class TestPlaces:
    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("x" * 256, "256 bytes"), ("ü" * 128, "256 bytes"), ("a\0b", "NUL"), ("\ud800", "surrogate"),
            ("file/below", "is no folder"), ("file", "is no folder"), ("dangling", "is no folder"),
        ],
    )  # fmt: skip
    def test_what_can_be_no_folder_is_said_first(self, tmp_path: Path, name: str, said: str):
        (tmp_path / "file").write_text("x")
        (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
        with pytest.raises(InterpError, match=said) as error:
            store.check_out(tmp_path / name)
        assert "\n" not in str(error.value)

    def test_a_name_of_255_bytes_is_written(self, tmp_path: Path):
        for name in ("x" * 255, "ü" * 127):
            store.atomic_write_text(tmp_path / name, "x")
            with store.atomic_folder(tmp_path / "d" / name) as folder:
                (folder / "f").write_text("x")
        assert len(list(tmp_path.iterdir())) == 3

    def test_a_place_that_cannot_be_written(self):
        with pytest.raises(InterpError, match="/proc cannot be written"):
            store.check_out(Path("/proc/none/new"))

    def test_looking_leaves_nothing(self, tmp_path: Path):
        store.check_out(tmp_path / "a" / "b")
        assert not any(tmp_path.iterdir())

    def test_a_full_disk_leaves_the_old_and_nothing_else(self, tmp_path: Path):
        """By the limit on the size of files, which stops a write as a full disk does."""
        store.atomic_write_text(tmp_path / "a.json", "old")
        journal = store.Journal(tmp_path / "j")
        journal.record("a", 1)
        before, limits = (tmp_path / "j").read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                store.atomic_write_bytes(tmp_path / "a.json", b"x" * 10_000)
            with pytest.raises(OSError, match="File too large"):
                journal.record("b", "x" * 10_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert (tmp_path / "a.json").read_text() == "old"
        assert (tmp_path / "j").read_bytes() == before
        assert {p.name for p in tmp_path.iterdir()} == {"a.json", "j"}
        journal.record("b", 2)
        assert store.Journal(tmp_path / "j").done("b") == 2
