"""Draw `docs/architecture.svg` from the code: the rooms from top to bottom, and which room imports which.

    python tools/architecture.py            # writes the picture
    python tools/architecture.py --counts   # prints files, lines, arrows, the largest file, class and function

A mark stands in the row of the room that imports and in the column of the room that is imported. All marks lie on one
side of the diagonal: imports run one way.
"""

import ast
import sys
from collections import Counter
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
ROOMS = (
    "cli", "report", "experiments", "hub", "interventions", "latents", "metrics", "activations", "models", "benchmarks",
    "grids", "grouping", "stats", "tensors", "escapes", "store", "types", "views", "bounds", "session", "errors",
)  # fmt: skip
"""From top to bottom, as in the contracts of pyproject.toml."""
CELL, LEFT, TOP, FILES = 24, 118, 104, 500


def arrows() -> Counter[tuple[str, str]]:
    """(room that imports, room that is imported) → imports between their files."""
    graph = grimp.build_graph("interp", exclude_type_checking_imports=True, cache_dir=None)
    found: Counter[tuple[str, str]] = Counter()
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            pair = (room(module), room(other))
            if pair[0] != pair[1] and "" not in pair:
                found[pair] += 1
    return found


def room(module: str) -> str:
    """`interp.models.clip` → `models`; '' for the package itself."""
    return [*module.split("."), ""][1]


def files(name: str) -> list[str]:
    """The files and packages of a room."""
    folder = ROOT / "interp" / name
    inside = [p.stem for p in folder.glob("*.py") if not p.stem.startswith("_")]
    inside += [f"{p.name}/" for p in folder.iterdir() if (p / "__init__.py").is_file()] if folder.is_dir() else []
    return sorted(inside)


def svg() -> str:
    """The picture as text."""
    marks, size = arrows(), len(ROOMS)
    width, height = LEFT + size * CELL + 16 + FILES, TOP + size * CELL + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" '
        'font-size="11.5"><title>Rooms of the package and their imports</title>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for n, name in enumerate(ROOMS):
        y, x = TOP + n * CELL, LEFT + n * CELL
        shade = "#f4f6f8" if n % 2 else "#ffffff"
        parts.append(f'<rect x="0" y="{y}" width="{width}" height="{CELL}" fill="{shade}"/>')
        parts.append(f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill="#d5dbe1"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end" font-weight="600">{name}</text>')
        parts.append(f'<text transform="translate({x + 15} {TOP - 8}) rotate(-60)" fill="#57606a">{name}</text>')
        lines = _lines(files(name))
        for line, words in enumerate(lines):
            at = y + (15 if len(lines) == 1 else 10 + 10 * line)
            parts.append(
                f'<text x="{LEFT + size * CELL + 16}" y="{at}" font-size="8.5" fill="#57606a">{escape(words)}</text>'
            )
    for (above, below), count in sorted(marks.items()):
        x, y = LEFT + ROOMS.index(below) * CELL + CELL / 2, TOP + ROOMS.index(above) * CELL + CELL / 2
        radius = min(9.0, 2.5 + count**0.5)
        parts.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius:.1f}" fill="#2f6fb2"><title>{above} imports {below}: '
            f"{count}</title></circle>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _lines(names: list[str], most: int = 118) -> list[str]:
    """Names in at most two lines."""
    whole = " · ".join(names)
    if len(whole) <= most:
        return [whole]
    cut = whole.rfind(" · ", 0, most)
    return [whole[:cut], whole[cut + 3 :]]


def sizes() -> dict[str, tuple[int, str]]:
    """The largest file, class and function of the package, in lines."""
    largest = {"file": (0, ""), "class": (0, ""), "function": (0, "")}
    for path in sorted((ROOT / "interp").rglob("*.py")):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        largest["file"] = max(largest["file"], (text.count("\n"), name))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                kind = "class" if isinstance(node, ast.ClassDef) else "function"
                lines = (node.end_lineno or 0) - node.lineno + 1
                largest[kind] = max(largest[kind], (lines, f"{name}: {node.name}"))
    return largest


def main() -> None:
    """Write the picture, or print the counts."""
    if "--counts" in sys.argv[1:]:
        paths = list((ROOT / "interp").rglob("*.py"))
        marks = arrows()
        print(f"{len(paths)} files, {sum(p.read_text(encoding='utf-8').count(chr(10)) for p in paths):,} lines")
        print(f"{len(ROOMS)} rooms, {len(marks)} arrows between them, {sum(marks.values())} imports")
        for kind, (lines, where) in sizes().items():
            print(f"largest {kind}: {lines} lines, {where}")
        return
    PICTURE.write_text(svg(), encoding="utf-8")
    print(PICTURE)


if __name__ == "__main__":
    main()
