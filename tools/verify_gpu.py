"""Does interp work on this GPU, in every precision? For a person who has one; under 8 minutes.

    python tools/verify_gpu.py --out FOLDER
    python tools/verify_gpu.py --out FOLDER --device cpu --quick   # a small part, on any machine

Each part is a process with a time limit of its own. What it found goes to `FOLDER/rows.jsonl` at once, and from there
to `table.md` and `table.json`, so that a part that fails, hangs or is killed costs its own rows alone. The exit code is
1 if any row failed. Weights are random but for pocket's, so nothing is downloaded; tiny models come from tests/.

It has not been run on a GPU, unless a table in benchmarks/ says so. Seconds are of the second run of the same work,
memory is what torch had allocated at most; beside them stands what `interp doctor` would have said.
"""

import argparse
import functools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

import families  # noqa: E402 - of tests/
import full_size  # noqa: E402 - of benchmarks/
import tiny  # noqa: E402 - of tests/
import torch  # noqa: E402

import interp  # noqa: E402
from interp import store  # noqa: E402
from interp.experiments import run  # noqa: E402
from interp.experiments.setup import Setup  # noqa: E402
from interp.hub import load  # noqa: E402
from interp.interventions.edits import Mask  # noqa: E402
from interp.latents import sae  # noqa: E402
from interp.metrics import registry  # noqa: E402
from interp.models import (  # noqa: E402
    diffusers_adapter,
    files,
    passes,
    sizes,
)
from interp.models import families as models  # noqa: E402
from interp.models.placement import DTYPES  # noqa: E402

CULTURES = ("China", "Germany", "Turkey")
PROMPTS = ["geleneksel bir bina", "Türk tarzı geleneksel bina"]
GIB = 2**30
SAME = 90
"""Percent of the judge's answers that must be those of the CPU in float32."""
FAILURES = (interp.InterpError, RuntimeError)
"""What becomes a row; anything else ends the part, and the part becomes a row."""


@dataclass(frozen=True)
class Row:
    """One thing that was tried."""

    part: str
    what: str
    ok: bool
    seconds: float | None = None
    seconds_estimated: float | None = None
    peak_gib: float | None = None
    """Most memory that torch held on the GPU; of a CPU, of the process so far."""
    gib_estimated: float | None = None
    note: str = ""


@dataclass
class Meter:
    """Seconds and peak memory of what runs inside."""

    device: str
    seconds: float = 0.0
    peak_gib: float = 0.0
    _start: float = field(default=0.0, repr=False)

    def __enter__(self) -> "Meter":
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        self._start = time.perf_counter()
        return self

    def __exit__(self, *raised: object) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
            peak = torch.cuda.max_memory_allocated(self.device)
        self.seconds, self.peak_gib = round(time.perf_counter() - self._start, 2), round(peak / GIB, 2)


def tried(part: str, what: str, device: str, work: Callable[[], str]) -> Row:
    """A row of some work, which gives the row's note; what fails is a row too."""
    meter = Meter(device)
    try:
        with meter:
            note = work()
    except FAILURES as error:
        return Row(part, what, False, note=f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}")
    return Row(part, what, True, meter.seconds, peak_gib=meter.peak_gib, note=note)


# ------------------------------------------------------------------------------------------------------ tiny families

BUILDERS: dict[str, Callable[[Path], Path]] = {
    "alt_diffusion_m18": families.build_alt_diffusion,
    "alt_diffusion_m9": lambda folder: families.build_alt_diffusion(folder, pre=False),
    "pea-diffusion": families.build_pea,
    "sdxl": families.build_sdxl,
    "sd3": families.build_sd3,
    "flux": families.build_flux,
    "sd1": families.build_sd1,
    "pixart": families.build_pixart,
}


def tiny_families(device: str, place: Path, names: tuple[str, ...], dtypes: tuple[str, ...]) -> Iterator[Row]:
    """The certificate of a tiny model of every family in every precision."""
    for name in names:
        folder = BUILDERS[name](place / name)
        prefix = f"{name}:" if name in models.PREFIXES else ""
        for dtype in dtypes:
            ask = {"device": device, "dtype": dtype, "size": 32}
            yield tried("certificate", f"{name} in {dtype}", device, lambda: _certified(prefix + str(folder), **ask))  # noqa: B023


def _certified(name: str, **options: Any) -> str:
    found = interp.load(name, **options).certificate
    worst = max((k for k in found if "moves" not in k and "seen" not in k), key=found.__getitem__)
    return f"{len(found)} checks, largest difference {found[worst]:.2g} ({worst})"


def offloaded(device: str, place: Path) -> Iterator[Row]:
    """The certificate with weights in main memory."""
    for name in ("alt_diffusion_m18", "sdxl"):
        folder = BUILDERS[name](place / name)
        for offload in ("model", "sequential"):
            ask = {"device": device, "dtype": "float16", "offload": offload, "size": 32}
            yield tried("offload", f"{name}, {offload}", device, lambda: _certified(str(folder), **ask))  # noqa: B023


# -------------------------------------------------------------------------------------------------------------- pocket


@dataclass(frozen=True)
class Verdict:
    """What pocket's pictures show, by the pocket judge."""

    answers: dict[str, tuple[str, ...]]
    """By arm: the culture of each picture."""
    accuracy: dict[str, float]

    def __str__(self) -> str:
        return ", ".join(f"{arm} {value:.0f} %" for arm, value in self.accuracy.items())

    @property
    def holds(self) -> bool:
        """The paper's direction: masking takes culture away, waking brings it."""
        shown = self.accuracy
        return shown["masked"] < shown["named"] and shown["woken"] > shown["not named"]


def pocket(device: str, place: Path) -> Iterator[Row]:
    """Gap, mask and wake on a few samples: the GPU's verdicts in three precisions against the CPU's in float32."""
    bench = interp.benchmark("pocket")
    here = interp.load("pocket", device="cpu", dtype="float32")
    neurons = interp.find_neurons(here, sae.load(load.SHIPPED / "pocket" / "layer_09"), bench, progress=False)
    wanted: list[Verdict] = []

    def reference() -> str:
        wanted.append(_verdict(here, neurons, bench))
        return str(wanted[0])

    yield tried("pocket", "CPU in float32", "cpu", reference)
    for dtype in DTYPES:
        yield tried("pocket", f"{device} in {dtype}", device, lambda: _compared(device, dtype, neurons, bench, wanted))  # noqa: B023
    yield tried("metrics", "judge, pocket-clip and LPIPS against the CPU's", device, lambda: _measured(device, bench))


def _verdict(model: Any, neurons: Any, bench: Any) -> Verdict:
    options = {"model": model, "bench": bench, "per_culture": 2, "steps": 8, "progress": False}
    shared = replace(Setup.on(neurons, **options), cache=None)  # else the CPU's answers would be the GPU's
    ablated = run.masked(shared, neurons, 0)
    woken = run.woken(shared, neurons, model.recipe["wake"], 0)
    arms = {"named": ablated.arms["baseline"], "masked": ablated.arms["masked"]}
    arms |= {"not named": woken.arms["baseline"], "woken": woken.arms["woken"]}
    return Verdict({k: a.answer for k, a in arms.items()}, {k: float(a.culture_hit.mean()) for k, a in arms.items()})


def _compared(device: str, dtype: str, neurons: Any, bench: Any, wanted: list[Verdict]) -> str:
    if not wanted:
        raise interp.InterpError("the CPU gave no verdict to compare with; see its row")
    found = _verdict(interp.load("pocket", device=device, dtype=dtype), neurons, bench)
    pairs = [(a, b) for arm in found.answers for a, b in zip(found.answers[arm], wanted[0].answers[arm], strict=True)]
    same = 100 * sum(a == b for a, b in pairs) / len(pairs)
    if same < SAME or not found.holds:
        raise interp.InterpError(f"{found}; {same:.0f} % of the answers are the CPU's, {SAME} % are needed")
    return f"{found}; {same:.0f} % of {len(pairs)} answers are the CPU's"


def _measured(device: str, bench: Any) -> str:
    samples = bench.samples("test")[:32]
    shown = [registry.reference(bench)(s) for s in samples]
    samples = [*samples[1:], samples[0]]  # each picture beside another's sample, so that LPIPS is not 0
    there, here = (registry.metrics(registry.POCKET, bench, d) for d in (device, "cpu"))
    pairs = [
        (a, a.measure(shown, samples).values, b.measure(shown, samples).values)
        for a, b in zip(there, here, strict=True)
    ]
    apart = {m.name: float(abs(a - b).max()) for m, a, b in pairs}
    if off := [name for name, value in apart.items() if value > 0.01]:
        raise interp.InterpError(f"{', '.join(off)} differ by more than 0.01: {apart}")
    return ", ".join(f"{name} ±{value:.1g}" for name, value in apart.items())


# --------------------------------------------------------------------------------------------------------- full shapes


@dataclass(frozen=True)
class Shape:
    """A published model's shape."""

    family: str
    """In `BUILDERS`: gives the files that are not weights."""
    dtype: str
    encoder: str
    layer: int
    configs: Mapping[str, Mapping[str, Any]]
    """Component → what differs from the tiny model's config.json."""


def _vae(**other: Any) -> dict[str, Any]:
    return dict(full_size.MODULES["vae"][1]) | {"norm_num_groups": 32} | other


_UNET = {"norm_num_groups": 32, "layers_per_block": 2}
_SD_UNET = _UNET | {
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
_CLIP_L = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "vocab_size": 49408,
}
_T5 = {"d_model": 4096, "d_ff": 10240, "d_kv": 64, "num_heads": 64, "num_layers": 24, "vocab_size": 32128}
_FLUX = {
    "attention_head_dim": 128,
    "axes_dims_rope": [16, 56, 56],
    "joint_attention_dim": 4096,
    "num_attention_heads": 24,
    "num_layers": 19,
    "num_single_layers": 38,
    "pooled_projection_dim": 768,
}
SHAPES = {
    "AltDiffusion-m18": Shape(
        "alt_diffusion_m18",
        "float16",
        "text_encoder",
        14,
        {"text_encoder": full_size.MODULES["xlmr"][1], "unet": _SD_UNET | full_size.MODULES["unet"][1], "vae": _vae()},
    ),
    "SDXL": Shape(
        "sdxl",
        "float16",
        "text_encoder_2",
        20,
        {
            "text_encoder": _CLIP_L,
            "text_encoder_2": {**full_size.MODULES["clip_g"][1], "vocab_size": 49408},
            "unet": _UNET | full_size.MODULES["sdxl"][1],
            "vae": _vae(sample_size=1024),
        },
    ),
    "FLUX.1": Shape(
        "flux",
        "bfloat16",
        "text_encoder_2",
        14,
        {
            "text_encoder": _CLIP_L,
            "text_encoder_2": _T5,
            "transformer": _FLUX,
            "vae": _vae(sample_size=1024, latent_channels=16),
        },
    ),
}


def full_shape(name: str, device: str, place: Path, small: bool = False) -> Iterator[Row]:
    """Capture, SAE, mask, one picture of one step, and through a UNet an enhancer, on random weights.

    Args:
        name: in `SHAPES`.
        device: where.
        place: an empty folder.
        small: the tiny model's configurations, in float32 on a CPU.
    """
    shape = SHAPES[name]
    folder = written(shape, place / "model", small)
    dtype, layer = ("float32" if device == "cpu" else shape.dtype), (1 if small else shape.layer)
    request = diffusers_adapter.Request(str(folder), folder, device=device, dtype=dtype, digests=("random",) * 2)
    chosen = diffusers_adapter.place(request)
    expected = sizes.estimate(folder, chosen, steps=1)
    held: list[Any] = []

    def loaded() -> str:
        where = chosen.device if chosen.offload == "none" else "cpu"
        kind = files.read_index(folder)["_class_name"]
        with mock.patch.object(files, "load_module", functools.partial(random_module, where)):
            held.append(models.FAMILIES[kind].load(request))
        return str(chosen)

    row = tried(name, "weights", device, loaded)
    yield replace(row, gib_estimated=round(expected.weights_bytes / GIB, 2))
    if held:
        yield from _used(name, held[0], shape.encoder, layer, device, place, expected)


def _used(
    name: str, model: Any, encoder: str, layer: int, device: str, place: Path, expected: sizes.Estimate
) -> Iterator[Row]:
    bench = tiny.bench(place / "bench", CULTURES)
    made: dict[str, Any] = {}

    def learnt() -> str:
        how = interp.SaeSettings(steps=30, batch=256, k=16)
        made["sae"] = interp.train_sae(model, bench, layer, "resid", encoder, how, place / "sae", progress=False)
        made["neurons"] = interp.find_neurons(model, made["sae"], bench, interp.Rule(k=8, tau=None), progress=False)
        return f"{made['sae'].ref.d_sae:,} latents at layer {layer} of {encoder}, on {made['sae'].W_enc.device}"

    def masked() -> str:
        edit = Mask(made["neurons"][CULTURES[0]])
        plain, moved = (interp.encode(model, PROMPTS, e) for e in (None, edit))
        if not bool(plain.embeds.isfinite().all() and moved.embeds.isfinite().all()):
            raise interp.InterpError("the conditioning is not finite")
        apart = float((plain.embeds.float() - moved.embeds.float()).abs().max())
        return f"moves the conditioning by up to {apart:.3g}"

    def drawn() -> str:
        given = interp.encode(model, PROMPTS[:1])
        return f"{list(model.images(given, [0], steps=1).shape)}"

    yield tried(name, "capture, SAE, neurons", device, learnt)
    if "neurons" in made:
        yield tried(name, "mask", device, masked)
    tried(name, "a picture of one step", device, drawn)  # kernels are chosen in the first run
    took = {"seconds_estimated": round(expected.seconds_per_image, 2)}
    took["gib_estimated"] = round((expected.weights_bytes + expected.activation_bytes) / GIB, 2)
    yield replace(tried(name, "a picture of one step", device, drawn), **took)
    if hasattr(model.pipeline, "unet"):
        yield tried(name, "enhancer, mixed precision, checkpointing", device, lambda: _enhancer(model, bench, place))


def _enhancer(model: Any, bench: Any, place: Path) -> str:
    how = interp.EnhancerSettings(width=64, steps=3, loss="latent", mixed=True, gradient_checkpointing=True)
    encoder = next(iter(model.encoders))
    folder = place / "enhancer"
    interp.train_enhancer(model, bench, 0, "resid", encoder, settings=how, folder=folder, progress=False)
    losses = json.loads((folder / "losses.json").read_text())["mean_by_part"]
    return f"losses {', '.join(f'{loss:.3g}' for loss in losses)}"


def written(shape: Shape, folder: Path, small: bool) -> Path:
    """The folder of a shape: everything but weights, in whose places lie empty files."""
    BUILDERS[shape.family](folder)
    for component, config in shape.configs.items():
        path = folder / component / "config.json"
        if not small:
            path.write_text(json.dumps(json.loads(path.read_text()) | config))
        for weights in [
            p for p in path.parent.iterdir() if p.suffix in (".safetensors", ".bin") or ".index." in p.name
        ]:
            weights.unlink()
        name = "pytorch_model.bin" if component.startswith("text") else "diffusion_pytorch_model.bin"
        (path.parent / name).touch()
    return folder


def random_module(
    where: str, kind: type[Any], folder: Path, component: str, dtype: torch.dtype = torch.float32, *_: Any, **__: Any
) -> torch.nn.Module:
    """In place of `files.load_module`: weights drawn where they are needed, so that signals neither vanish nor grow."""
    config = (folder / component / "config.json").read_text()
    module = passes.build(kind.__name__, config).to(dtype).to_empty(device=where).requires_grad_(False)
    if hasattr(module, "tie_weights"):
        module.tie_weights()
    for name, weight in module.named_parameters():
        if weight.ndim > 1:
            embeds = "embed" in name or "shared" in name
            spread = 0.3 if embeds and weight.ndim == 2 else weight[0].numel() ** -0.5
            weight.uniform_(-(3**0.5) * spread, 3**0.5 * spread)
        else:
            weight.fill_(float(name.endswith("weight")))
    for name, buffer in module.named_buffers():
        counted = torch.arange(buffer.numel(), device=where).view_as(buffer) if "position" in name else 0
        buffer.copy_(torch.as_tensor(counted))
    return module


# --------------------------------------------------------------------------------------------------------------- parts


def _quick(device: str, place: Path) -> Iterator[Row]:
    yield from tiny_families(device, place, ("alt_diffusion_m18",), ("float32",))
    yield from full_shape("AltDiffusion-m18", device, place / "m18", small=True)


Part = Callable[[str, Path], Iterator[Row]]
PARTS: dict[str, tuple[Part, int]] = {
    "pocket": (pocket, 150),
    "AltDiffusion-m18": (functools.partial(full_shape, "AltDiffusion-m18"), 75),
    "SDXL": (functools.partial(full_shape, "SDXL"), 90),
    "FLUX.1": (functools.partial(full_shape, "FLUX.1"), 120),
    "families": (lambda device, place: tiny_families(device, place, tuple(BUILDERS), tuple(DTYPES)), 120),
    "offload": (offloaded, 60),
}
"""Name → what it does, and its limit in seconds."""
QUICK: dict[str, tuple[Part, int]] = {"quick": (_quick, 300)}


def run_part(name: str, device: str, rows: Path) -> None:
    """One part, in this process: each row is written when it is there."""
    work, _ = (PARTS | QUICK)[name]
    with tempfile.TemporaryDirectory() as place:
        for row in work(device, Path(place)):
            with rows.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")


def watched(name: str, limit: float, device: str, out: Path) -> None:
    """One part in a process of its own; if it ends badly or lasts too long, that is a row."""
    rows = out / "rows.jsonl"
    command = [sys.executable, __file__, "--part", name, "--device", device, "--out", str(out)]
    with (out / f"{name}.log").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        end = time.monotonic() + limit
        while child.poll() is None and time.monotonic() < end:
            time.sleep(0.5)
            write(out)
        late = child.poll() is None
        if late:
            child.kill()
        child.wait()
    if late or child.returncode:
        said = (out / f"{name}.log").read_text(errors="replace").strip().splitlines() or ["nothing said"]
        note = f"stopped after {limit:.0f} s" if late else f"ended with {child.returncode}: {said[-1][:300]}"
        ended = json.dumps(asdict(Row(name, "the part as a whole", False, note=note))) + "\n"
        rows.write_text("".join([*_whole(rows), ended]))
    write(out)


def _whole(path: Path) -> list[str]:
    """The lines of a file that were written to their end: a part that is killed may leave half of one."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith("\n")]


def write(out: Path) -> list[Row]:
    """The tables of the rows so far."""
    rows = [Row(**json.loads(line)) for line in _whole(out / "rows.jsonl")]
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    record = {"device": name, "versions": store.versions(), "rows": [asdict(r) for r in rows]}
    store.atomic_write_json(out / "table.json", record)
    head = "| part | what | | seconds | estimated | peak GiB | estimated | |\n|---|---|---|--:|--:|--:|--:|---|"
    table = [f"# interp on {name}", "", head, *map(_line, rows), ""]
    store.atomic_write_text(out / "table.md", "\n".join(table))
    return rows


def _line(row: Row) -> str:
    numbers = (row.seconds, row.seconds_estimated, row.peak_gib, row.gib_estimated)
    shown = " | ".join("" if n is None else f"{n:,.2f}" for n in numbers)
    return f"| {row.part} | {row.what} | {'ok' if row.ok else '**failed**'} | {shown} | {row.note.replace('|', '/')} |"


def main(arguments: list[str] | None = None) -> int:
    """All parts, one after another; 1 if a row failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="a tiny model through the whole method, nothing else")
    parser.add_argument("--minutes", type=float, default=8, help="of all parts together")
    parser.add_argument("--part", choices=[*PARTS, *QUICK], help="this one alone, in this process")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    if given.part:
        run_part(given.part, given.device, given.out / "rows.jsonl")
        return 0
    (given.out / "rows.jsonl").unlink(missing_ok=True)
    end = time.monotonic() + 60 * given.minutes
    for name, (_, limit) in (QUICK if given.quick else PARTS).items():
        watched(name, max(0, min(limit, end - time.monotonic())), given.device, given.out)
    rows = write(given.out)
    print((given.out / "table.md").read_text())
    return 0 if rows and all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
