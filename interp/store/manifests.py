"""Where a run's files come from: command, settings, seeds, versions, commit and digests of what went in."""

import importlib.metadata
import json
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, JsonValue

from interp.errors import InterpError
from interp.store.reading import checked, read_sealed
from interp.store.writing import write_sealed

MANIFEST = "manifest.json"
DISTRIBUTIONS = {"interp": "culture-interp"} | {
    name: name for name in ("torch", "nnsight", "sae-lens", "transformers", "diffusers", "numpy")
}
PACKAGE = Path(__file__).parents[1]


def _finite(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse NaN and infinity, which would be read back as null."""
    json.dumps(value, allow_nan=False)
    return value


Settings = Annotated[dict[str, JsonValue], AfterValidator(_finite)]


class Manifest(BaseModel):
    """Where a run's files come from."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    command: str
    """What was run, as it can be typed again."""
    stage: str = ""
    """The stage whose folder this is, such as `ablate`: another stage does not write over its results."""
    config: Settings = {}
    """Every setting, defaults included."""
    seeds: dict[str, int | list[int]] = {}
    """Seeds by what they seed."""
    versions: dict[str, str]
    """Versions of Python and of the packages that numbers depend on."""
    commit: str | None
    """Commit of the project's repository; None outside one."""
    dirty: bool | None
    """Whether the checkout differed from the commit, `reports/` aside; None outside a repository."""
    model_digest: str | None = None
    """SHA-256 over all weights of the model."""
    encoder_digest: str | None = None
    """SHA-256 over its text encoders' weights."""
    benchmark_digest: str | None = None
    sae_digest: str | None = None
    device: str = ""
    """What computed, such as `cpu` or the name of the GPU."""
    started: AwareDatetime
    """UTC."""
    wall_seconds: float | None = None
    """From start to end; None in a run that has not ended."""
    certificate: Settings | None = None
    """What the model's adapter proved of itself when it was loaded."""

    def finished(self) -> "Manifest":
        """The same manifest with the wall time up to now."""
        seconds = (datetime.now(UTC) - self.started).total_seconds()
        return self.model_copy(update={"wall_seconds": round(seconds, 3)})


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on, without importing them."""
    known = {"python": platform.python_version()}
    for name, distribution in DISTRIBUTIONS.items():
        try:
            known[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            known[name] = "not installed"
    return known


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints in a folder; None where there is no git or git says no."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def git_state(folder: Path = PACKAGE) -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the checkout that tracks `folder`; (None, None) if none does.

    A package installed into another project's environment is not tracked by that project, so its commit is not taken.
    """
    if not _git(folder, "ls-files", "."):
        return None, None
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--", ":/", ":(top,exclude)reports")
    return (commit.strip() if commit else None), (None if changes is None else bool(changes))


def new_manifest(command: str, **fields: Any) -> Manifest:
    """A manifest that starts now, with versions and commit filled in.

    Args:
        command: what was run, as it can be typed again.
        fields: other fields of `Manifest`.
    """
    commit, dirty = git_state()
    return Manifest(
        command=command, versions=versions(), commit=commit, dirty=dirty, started=datetime.now(UTC), **fields
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `folder/manifest.json`, sealed."""
    write_sealed(folder / MANIFEST, manifest.model_dump(mode="json"))


def read_manifest(folder: Path) -> Manifest:
    """Read `folder/manifest.json`.

    Raises:
        InterpError: it is missing, damaged, or no manifest.
    """
    path, todo = folder / MANIFEST, "run the stage again"
    if not path.is_file():
        raise InterpError(f"{folder}: no {MANIFEST}, so nothing says where its files come from; {todo}")
    return checked(Manifest, read_sealed(path, todo), str(path), todo)
