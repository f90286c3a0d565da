"""store.manifests: where a run's files come from, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from interp import store
from interp.errors import InterpError


def git(folder: Path, *arguments: str) -> None:
    name = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run(["git", "-C", str(folder), *name, *arguments], check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-m", "x")


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
        with pytest.raises(InterpError, match=r"no manifest\.json"):
            store.read_manifest(tmp_path)

    @pytest.mark.parametrize("change", [{"comand": "x"}, {"started": "2026-01-01T00:00:00"}, {"seeds": {"a": "b"}}])
    def test_a_wrong_one_is_refused(self, tmp_path: Path, change: dict[str, object]):
        good = json.loads(store.new_manifest("x").model_dump_json())
        store.write_sealed(tmp_path / "manifest.json", good | change)
        with pytest.raises(InterpError, match=next(iter(change))) as error:
            store.read_manifest(tmp_path)
        assert "\n" not in str(error.value)

    def test_a_torn_one_is_refused(self, tmp_path: Path):
        store.write_manifest(tmp_path, store.new_manifest("x"))
        path = tmp_path / "manifest.json"
        path.write_text(path.read_text()[:-20])
        with pytest.raises(InterpError, match="not JSON"):
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
