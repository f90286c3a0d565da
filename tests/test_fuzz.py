"""Hostile command lines and hostile records: one line and code 2, no traceback, nothing half-written.

Every parameter of every command is tried, as the command line itself declares them, so a new one is fuzzed unasked.
`make torture` (INTERP_TORTURE=1) tries all of it, the tests a fixed part.
"""

import copy
import json
import random
import re
import shutil
import sys
import warnings

import pytest
import typer
from campaign import FULL

from interp import store
from interp.cli.main import app, main
from interp.errors import InterpError, InterpWarning
from interp.experiments import files
from interp.interventions.edits import Mask, Plan, Steer
from interp.latents import neurons, sae

CALLS = 600 if FULL else 100
RECORDS = 400 if FULL else 40
NUMBERS = ("-1", "0", "9" * 30, "1.5", "1e999", "nan", "inf", "-inf", "x", "", "٣", "0x10", "\udcff")
TEXTS = (
    "", " ", "no/such", "x" * 300, "x" * 5000, "\udcff", "../../..", "/proc/none/x", "/dev/null", "[" * 3000, "{}",
    "a=b", "=", "http://", "https://[::1", "openai:m@http://user:pw@host", "qwen3-vl:", "gemini:?price=nan/1", "\u202e",
    "no:such", "-", "*", "~", "%s", "{0}", "null", "None",
)  # fmt: skip
BASE = {"model": "no/such", "bench": "no/such", "out": "out"}
"""What a call has beside what is fuzzed, so that nothing is computed."""


def commands():
    """(words, parameters) of every command."""
    top = typer.main.get_command(app)
    for name, command in top.commands.items():
        if hasattr(command, "commands"):
            yield from (((name, inner), c.params) for inner, c in command.commands.items())
        else:
            yield (name,), command.params


def hostile(parameter):
    """Values that a parameter may be given."""
    return NUMBERS if {"int", "float"} & {*re.findall(r"\w+", str(parameter.bare_type))} else TEXTS


def calls(count, seed):
    """Argument lists, each with one to three hostile values."""
    draw, known = random.Random(seed), list(commands())
    for n in range(count):
        words, parameters = known[n % len(known)]
        chosen = draw.sample(parameters, min(len(parameters), draw.randint(1, 3)))
        options, arguments = [], []
        for parameter in parameters:
            given = parameter.name in BASE or parameter.required or parameter in chosen
            if parameter.name == "help" or not given:
                continue
            value = draw.choice(hostile(parameter)) if parameter in chosen else BASE.get(parameter.name, "no/such")
            if parameter.param_type_name == "argument":
                arguments.append(value)
            elif parameter.is_flag:
                options.append(parameter.opts[0])
            else:
                options += [parameter.opts[0], value]
        yield [*words, *options, *arguments]


def run(arguments, capsys):
    """(exit code, last line of standard error) of a command."""
    before, sys.argv = sys.argv, ["interp", *arguments]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = before
    lines = capsys.readouterr().err.strip().splitlines()
    return stop.value.code, lines


def test_no_command_line_ends_in_a_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments in calls(CALLS, seed=0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InterpWarning)
            code, lines = run(arguments, capsys)
        # `bench validate` lists what it finds on standard output
        assert code in (0, 2) and (code == 0 or sum(x.startswith("interp: ") for x in lines) == 1
                                   or arguments[:2] == ["bench", "validate"]), (arguments, code, lines)  # fmt: skip
        left = {p.name for p in tmp_path.iterdir()}
        assert not left, (arguments, left)


def test_every_usage_error_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    wrong = (
        ["nonsense"],
        ["layers", "--nope"],
        ["sae"],
        ["sae", "--layer", "x"],
        ["bench", "nope"],
        ["report", "--seed", "-1"],
    )
    for arguments in wrong:
        code, lines = run(arguments, capsys)
        assert code == 2 and len(lines) == 1 and lines[0].startswith("interp: "), (arguments, lines)


# -------------------------------------------------------------------------------------------------------------- records


LEAVES = (
    None, True, -1, 0, 2**70, 1e308, -0.0, "", "x", "\u202e", [], {}, [[]], {"x": 1}, "nan", ["a", 1], [None] * 5,
    10**40,
)  # fmt: skip


def spots(value, path=()):
    """Paths of all parts of a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from spots(part, (*path, key))


def changed(value, draw):
    """The value with one part replaced, taken out, or put elsewhere."""
    made = copy.deepcopy(value)
    *way, last = draw.choice([s for s in spots(made) if s])
    place = made
    for key in way:
        place = place[key]
    if isinstance(place, dict) and draw.random() < 0.3:
        if draw.random() < 0.5:
            del place[last]
        else:
            place[draw.choice(("more", "type", "", "path"))] = draw.choice(LEAVES)
    else:
        place[last] = draw.choice(LEAVES)
    return made


@pytest.fixture(scope="module")
def records(tmp_path_factory, tiny_neurons, tiny_sae):
    """Sealed records that somebody else may have written, and how each is read."""
    root = tmp_path_factory.mktemp("records")
    neurons.save(tiny_neurons, root / "neurons")
    layer = shutil.copytree(tiny_sae.ref.path, root / "layer_01")
    files.save(tiny_neurons.sae.site, root / "value", store.new_manifest("x", stage="x"))
    whole = neurons.load(root / "neurons")
    return {
        "neurons": (root / "neurons" / "neurons.json", lambda: neurons.load(root / "neurons")),
        "sae": (layer / sae.MANIFEST, lambda: sae.load(layer)),
        "manifest": (root / "value" / "manifest.json", lambda: store.read_manifest(root / "value")),
        "value": (root / "value" / "value.json", lambda: files.read(root / "value")),
    }, Mask(whole["Japan"]) + Steer(whole["Italy"], 2.5)


@pytest.mark.parametrize("name", ["neurons", "sae", "manifest", "value"])
def test_a_record_with_a_seal_of_its_own_is_one_line_or_sound(records, name):
    """Whoever writes a record can seal it, too: what it says is checked as well."""
    path, read = records[0][name]
    sound, draw = path.read_bytes(), random.Random(name)
    content, told = {k: v for k, v in json.loads(sound).items() if k != store.SEAL}, []
    try:
        for _ in range(RECORDS):
            try:
                store.write_sealed(path, changed(content, draw))
                read()
            except InterpError as error:
                told.append(str(error))
    finally:
        path.write_bytes(sound)
    assert told and not [line for line in told if "\n" in line]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "5", '"x"', "[" * 100_000, '{"a":' * 50_000, '{"a": "\\ud800"}', "{'a': 1}", "\x00", "NaN",
     '{"content_sha256": null}', '{"content_sha256": "' + "0" * 64 + '"}', "9" * 5000],
)  # fmt: skip
@pytest.mark.parametrize("name", ["neurons", "sae", "manifest", "value"])
def test_broken_json_is_one_line(records, name, text):
    path, read = records[0][name]
    sound = path.read_bytes()
    path.write_text(text)
    try:
        with pytest.raises(InterpError) as error:
            read()
        assert "\n" not in str(error.value) and str(path) in str(error.value)
    finally:
        path.write_bytes(sound)


def test_plans_of_others(records):
    plan, draw = records[1], random.Random(0)
    content = json.loads(plan.to_json())
    assert Plan.from_json(plan.to_json()) == plan
    told = []
    for _ in range(5 * RECORDS):
        try:
            read = Plan.from_json(json.dumps(changed({"plan": content}, draw).get("plan")))
        except InterpError as error:
            told.append(str(error))
        else:
            assert all(0 <= i < step.neurons.sae.d_sae for step in read for i in step.neurons.indices)
    assert len(told) > RECORDS and not [line for line in told if "\n" in line]


def test_a_small_value_file_takes_no_room(tmp_path):
    """A text of a hundred million characters was made for an array of three."""
    for array in (
        {"type": "array", "dtype": "<U100000000", "shape": [3], "values": ["a", "b", "c"]},
        {"type": "array", "dtype": "<f8", "shape": [10**12], "values": []},
        {"type": "array", "dtype": "<f8", "shape": [-1], "values": [1.0]},
        {"type": "array", "dtype": "O", "shape": [1], "values": ["a"]},
        {"type": "array", "dtype": "<i8", "shape": [1], "values": ["a"]},
        {"type": "array", "dtype": "<i1", "shape": [1], "values": [10**9]},
        {"type": "array", "dtype": "<U1", "shape": [4000], "values": ["x" * 100_000, *[""] * 3999]},
        {"type": "Interval", "estimate": [], "low": 0, "high": 0, "n": 0},
        {"type": "Interval", "estimate": 5.0, "low": 9.0, "high": 1.0, "n": 3},
        {"type": "map", "items": [[{"type": "list", "items": []}, 1]]},
        {"type": "list"},
    ):
        store.write_manifest(tmp_path, store.new_manifest("x", stage="x").finished())
        store.write_sealed(tmp_path / files.FILE, array)
        if array.get("dtype") == "<U100000000":
            assert files.read(tmp_path).nbytes < 100
            continue
        with pytest.raises(InterpError) as error:
            files.read(tmp_path)
        assert "\n" not in str(error.value)
