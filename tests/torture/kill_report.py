"""Kill a report at random moments, let it go on each time, and hold what it wrote against an uninterrupted run.

    python tests/torture/kill_report.py --size quick --kills 10

Both runs have caches of their own. The killed one is started again after every kill; the last start runs to the end.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WHEN = re.compile(
    r"\d{4}-\d\d-\d\d[T ][\d:.]+\S*|[\d.,]+ s(econds)?\b"
    r"|\b[0-9a-f]{40}\b|commit [0-9a-f]{12}|(?s:<p class=\"miss\">The checkout had.*?</p>\s*)"
    r"|(commit|dirty|wall.seconds|started)\W[^<]*<[^>]*>[^<]*<"
    r"|wall.seconds</th><td>[\d.]+"
)
"""When, how long and from which state of the checkout: what a page says of the run and not of the model."""


def report(folder: Path, size: str, cache: Path) -> list[str]:
    """The command line of a report into a folder."""
    cache.mkdir(parents=True, exist_ok=True)
    return [sys.executable, "-m", "interp.cli", "report", "--size", size, "--out", str(folder)]


def run(command: list[str], cache: Path, kill_after: float | None) -> tuple[int, float]:
    """(exit code, seconds) of a command that is killed after a while, or never."""
    environment = os.environ | {"INTERP_CACHE": str(cache), "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
    begun = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return process.returncode, time.monotonic() - begun


def written(folder: Path) -> dict[str, Any]:
    """What a report wrote, without what says when: results as values, every other file by its bytes."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name == "results.json":
            content = json.loads(path.read_text(encoding="utf-8"))
            found[name] = {k: v for k, v in content.items() if k not in ("manifest", "content_sha256")}
        elif path.suffix == ".html":
            text = path.read_text(encoding="utf-8")
            found[name] = re.sub(WHEN, "", text)
        elif name != "manifest.json":
            found[name] = path.read_bytes()
    return found


def ended(folder: Path) -> float | None:
    """Seconds of a report that came to its end, which serves again; None if there is none."""
    path = folder / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8"))["wall_seconds"] if path.is_file() else None


def main() -> None:
    """Run both and print what differs, as JSON; exit code 1 if anything does."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size", default="quick")
    options.add_argument("--kills", type=int, default=10)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--work", type=Path, required=True)
    given = options.parse_args()
    whole, cut = given.work / "whole", given.work / "cut"
    seconds = ended(whole)
    if seconds is None:
        code, _ = run(report(whole, given.size, given.work / "cache-whole"), given.work / "cache-whole", None)
        seconds = ended(whole)
        assert code == 0 and seconds is not None, "the uninterrupted run failed"
    draw, kills, tried = random.Random(given.seed), [], 0
    while len(kills) < given.kills and tried < 3 * given.kills:
        tried += 1
        after = 8 + draw.uniform(0.0, 0.15) * seconds  # not while it is still importing
        code, _ = run(report(cut, given.size, given.work / "cache-cut"), given.work / "cache-cut", after)
        if code != -signal.SIGKILL:
            break
        kills.append(round(after, 1))
    code, _ = run(report(cut, given.size, given.work / "cache-cut"), given.work / "cache-cut", None)
    one, other = written(whole), written(cut)
    different = sorted(n for n in one.keys() | other.keys() if one.get(n) != other.get(n))
    left = [p.name for p in [*cut.rglob("*"), *(given.work / "cache-cut").rglob("*")] if p.name.endswith(".partial")]
    said = {"kills": kills, "seconds_uninterrupted": round(seconds, 1), "exit": code, "files": len(one)}
    sys.stdout.write(json.dumps(said | {"different": different, "orphans": left}) + "\n")
    raise SystemExit(bool(different or left or code))


if __name__ == "__main__":
    main()
