"""`interp <stage>`: thin commands over the public functions; bad input is one line and exit code 2."""

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from interp.cli import benchmark, stages, studies, systems
from interp.errors import InterpError
from interp.session import session
from interp.store import one_line

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(benchmark.app, name="bench")


@app.callback()
def options(
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; chosen from what is there if not given")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float16 or bfloat16")] = None,
    offload: Annotated[str | None, typer.Option(help="none, model or sequential")] = None,
    image_size: Annotated[int | None, typer.Option(min=1, max=2**15, help="side of the pictures in pixels")] = None,
) -> None:
    """Where a model is loaded, and how; before the command: `interp --device cuda report …`."""
    session.placed.update(device=device, dtype=dtype, offload=offload, size=image_size)


def doctor(
    model: Annotated[str | None, typer.Argument(help="a model to estimate, load and certify")] = None,
    load: Annotated[bool, typer.Option(help="load it; else the estimate alone")] = True,
) -> None:
    """Versions, device, what can be loaded; with a model, what it will need, then its certificate."""
    from interp.cli.doctor import lines

    for line in lines(model, load, **session.placed):
        typer.echo(line)


for command in (
    studies.report, studies.reproduce, stages.layers, stages.sae, stages.neurons, stages.ablate, stages.amplify,
    stages.wake, stages.sweep, stages.steer, systems.draw, systems.measure, systems.compare, systems.publish, doctor,
):  # fmt: skip
    app.command()(command)


def _out_of_memory(error: Exception) -> bool:
    """Of the GPU, of the main memory, or of torch's own allocator there."""
    by_type = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return by_type or "not enough memory" in str(error) or "can't allocate memory" in str(error)


def _in_one_line(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, OSError) and not isinstance(error, InterpError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    if _out_of_memory(error):
        return f"{one_line(error)}; try a smaller --image-size, --dtype bfloat16 or --offload model"
    return error.format_message() if isinstance(error, TyperException) else str(error)  # type: ignore[attr-defined]


def main() -> None:
    """Entry point: what a user can cause is one line and exit code 2."""
    # its notices of optional packages that the toolkit does not use would stand between the user and the answer
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    alone = sys.argv[1:] in ([], ["bench"])
    try:
        code = app([*sys.argv[1:], *["--help"] * alone], standalone_mode=False)
    except typer.Abort:
        raise SystemExit(130) from None
    except (InterpError, TyperException, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _out_of_memory(error):
            raise
        line = " ".join(_in_one_line(error).split())
        typer.echo(f"interp: {line.encode('utf-8', 'backslashreplace').decode()}", err=True)
        raise SystemExit(2) from None
    raise SystemExit(code if isinstance(code, int) else 0)
