"""store.runs: one run at a time in a folder of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from interp import store
from interp.errors import InterpError


class TestLocks:
    def test_a_second_run_is_refused_and_a_killed_one_lets_go(self, tmp_path: Path):
        code = """
from interp import store
with store.locked(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(60)
"""
        preamble = "import sys, time\nfrom pathlib import Path\n"
        process = subprocess.Popen([sys.executable, "-c", preamble + code, str(tmp_path / "r")], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"in\n"
        with pytest.raises(InterpError, match="another run is writing there"), store.locked(tmp_path / "r"):
            pytest.fail("two runs")
        process.kill()
        process.wait()
        process.stdout.close()
        with store.locked(tmp_path / "r"), store.locked(tmp_path / "r"):
            pass


class TestRunFolder:
    def test_it_says_what_ran_from_start_to_end(self, tmp_path: Path):
        out = tmp_path / "r"
        with store.run_folder(out, store.new_manifest("interp ablate", stage="ablate", seeds={"a": 1})):
            begun = store.read_manifest(out)
            assert begun.wall_seconds is None and begun.seeds == {"a": 1}
            (out / "value.json").write_text("x")
        assert store.read_manifest(out).wall_seconds is not None
        with store.run_folder(out, store.new_manifest("interp ablate again", stage="ablate")):
            # the old manifest may not stand beside new results of a run that is killed
            assert store.read_manifest(out).command == "interp ablate again"
        assert store.read_manifest(out).command == "interp ablate again"
        assert (out / "value.json").read_text() == "x"

    @pytest.mark.parametrize("there", ["thesis.tex", "value.json", "figure.png", "manifest.json", "results.json"])
    def test_somebody_elses_folder_is_refused(self, tmp_path: Path, there: str):
        (tmp_path / there).write_text("{}")
        with pytest.raises(InterpError) as error, store.run_folder(tmp_path, store.new_manifest("x", stage="ablate")):
            pytest.fail("it ran")
        assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
        assert [p.name for p in tmp_path.iterdir()] == [there] and (tmp_path / there).read_text() == "{}"

    def test_another_stages_results_are_refused(self, tmp_path: Path):
        with store.run_folder(tmp_path / "r", store.new_manifest("x", stage="layers")):
            pass
        with pytest.raises(InterpError, match="holds the results of layers, not of ablate"):
            store.check_run_folder(tmp_path / "r", "ablate")

    def test_a_run_that_fails_at_once_leaves_nothing(self, tmp_path: Path):
        def failing(write: bool) -> None:
            with store.run_folder(tmp_path / "runs" / "r", store.new_manifest("x", stage="x")) as out:
                if write:
                    (out / "scores.jsonl").write_text("paid for")
                raise InterpError("no")

        with pytest.raises(InterpError, match="no"):
            failing(False)
        assert not any(tmp_path.iterdir())
        with pytest.raises(InterpError, match="no"):
            failing(True)
        assert (tmp_path / "runs" / "r" / "scores.jsonl").read_text() == "paid for"
        store.check_run_folder(tmp_path / "runs" / "r", "x")
