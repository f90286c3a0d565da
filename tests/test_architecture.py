"""The package's shape: sizes of files, classes and functions, one way of imports, state, the picture in the docs."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("architecture", ROOT / "tools" / "architecture.py")
architecture = importlib.util.module_from_spec(spec)
spec.loader.exec_module(architecture)

FILES = sorted((ROOT / "interp").rglob("*.py"))
MOST = {"file": 400, "class": 150, "function": 50}
"""Lines."""


def test_nothing_is_too_large():
    sizes = architecture.sizes()
    assert {kind: what for kind, what in sizes.items() if what[0] > MOST[kind]} == {}


def test_all_imports_between_rooms_go_down():
    order = {room: n for n, room in enumerate(architecture.ROOMS)}
    assert [pair for pair in architecture.arrows() if order[pair[0]] >= order[pair[1]]] == []
    rooms = {p.stem if p.is_file() else p.name for p in (ROOT / "interp").glob("[!_]*") if p.suffix in ("", ".py")}
    assert rooms - {"assets"} == set(architecture.ROOMS)


def test_the_picture_in_the_docs_is_of_this_code():
    assert architecture.PICTURE.read_text(encoding="utf-8") == architecture.svg(), "run tools/architecture.py"


def test_the_docs_name_files_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for room in architecture.ROOMS:
        assert f"`{room}`" in text
    known = {p.relative_to(ROOT / "interp").with_suffix("").as_posix() for p in FILES}
    named = [word.strip("`.,") for word in text.replace("`", " ").split() if word.count("/") and word.endswith(".py")]
    for word in named:
        path = word.removesuffix(".py")
        choices = [path] if "{" not in path else []
        assert all(c in known or (ROOT / f"{c}.py").is_file() for c in choices), word
    assert len(named) > 12


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_import_by_string_hides_an_arrow(path):
    calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
    names = [(ast.unparse(c.func).split(".")[-1], c) for c in calls]
    hidden = [ast.unparse(c) for name, c in names if name in ("import_module", "__import__") and _of_ours(c)]
    assert hidden == []


def _of_ours(call):
    """Whether what is imported by name may be a file of the package: its name begins so, or nobody knows it."""
    text = ast.unparse(call.args[0])
    return "interp" in text or "__name__" in text


def test_one_object_alone_keeps_state():
    """No list, dict or set of a module is changed by its functions."""
    changed = []
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        held = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.List | ast.Dict | ast.Set)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):
                changed.append(f"{path.name}: global {', '.join(node.names)}")
            method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func
            if method and method.attr in ("append", "update", "add", "pop", "clear", "setdefault", "extend"):
                name = ast.unparse(method.value)
                changed += [f"{path.name}: {name}"] * (name in held)
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
                changed += [f"{path.name}: {node.value.id}"] * (node.value.id in held)
    # set once, when the package is imported, by what stands above all rooms
    assert changed == ["views.py: _renderer"]
