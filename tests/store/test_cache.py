"""store.cache: filled once, checked at every use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from interp import store
from interp.errors import InterpError, InterpWarning


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


class TestCachedFolder:
    def fill(self, folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "deep" / "weights").write_bytes(bytes(range(200)))

    def test_what_changed_is_made_again_aloud(self, tmp_path: Path, monkeypatch):
        monkeypatch.setenv("INTERP_CACHE", str(tmp_path))
        place = store.cached_folder(tmp_path / "m", self.fill)
        weights = place / "deep" / "weights"
        for harm in (
            lambda: weights.write_bytes(bytes(range(199)) + b"\0"),
            weights.unlink,
            (place / store.SUMS).unlink,
            lambda: (place / store.SUMS).write_text((place / store.SUMS).read_text().replace("weights", "xeights")),
        ):
            times = os.stat(weights)
            harm()
            if weights.exists():
                os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
            with pytest.warns(InterpWarning, match="is made again"):
                store.cached_folder(tmp_path / "m", self.fill)
            assert weights.read_bytes() == bytes(range(200)) and store.changed(place) == []

    def test_what_somebody_put_there_is_kept(self, tmp_path: Path, monkeypatch):
        monkeypatch.setenv("INTERP_CACHE", str(tmp_path))
        place = store.cached_folder(tmp_path / "m", self.fill)
        (place / "notes.txt").write_text("mine")
        assert store.cached_folder(tmp_path / "m", self.fill) == place
        (place / "deep" / "weights").write_bytes(b"damaged")
        with pytest.raises(InterpError, match=r"notes\.txt is not of interp; move that away"):
            store.cached_folder(tmp_path / "m", self.fill)
        assert (place / "notes.txt").read_text() == "mine"

    def test_first_use_by_four_processes_at_once(self, tmp_path: Path):
        code = """
from interp import store
def fill(folder):
    (folder / "weights").write_bytes(b"w" * 100_000)
    with open(sys.argv[2], "a") as log:
        log.write("filled\\n")
    time.sleep(0.3)
print(store.cached_folder(Path(sys.argv[1]), fill))
"""
        command = [sys.executable, "-c", "import sys, time\nfrom pathlib import Path\n" + code]
        environment = os.environ | {"INTERP_CACHE": str(tmp_path / "cache")}
        paths = [str(tmp_path / "cache" / "m"), str(tmp_path / "log")]
        running = [subprocess.Popen([*command, *paths], env=environment, stdout=subprocess.DEVNULL) for _ in range(4)]
        assert [process.wait() for process in running] == [0] * 4
        assert (tmp_path / "log").read_text() == "filled\n", "the others waited"
        assert store.changed(tmp_path / "cache" / "m") == []
