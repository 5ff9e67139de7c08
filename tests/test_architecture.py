"""DESIGN.md's rules as tests: layers, one door per outside thing, room names, file length, a light start."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tflite_ptq"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the top: a room imports only from those below it. The stories sit under the commands that tell them.
LAYERS = [
    "cli",
    "benchmarking starting debugging",
    "pipeline checking",
    "debug_layers",
    "debug_trials",
    "building evaluating",
    "improving",
    "reweighting",
    "remaking",
    "opening",
    "reporting run_context",
    "journal manifest",
    "worker",
    "cache",
    "report",
    "measure",
    "quantize",
    "model",
    "data",
    "recipe",
    "debug_result timing_result",
    "result",
    "atomic fingerprint",
    "errors observer",
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms.split()}
# What a room may import beside itself; where a room is not named, everything below it.
MAY_IMPORT = {
    "report": {"result", "debug_result", "timing_result", "recipe", "atomic", "errors"},
    "measure": {"model", "data", "result", "timing_result", "recipe", "errors"},
    "cache": {"result", "recipe", "atomic", "fingerprint", "errors"},
    "quantize": {"model", "data", "result", "recipe", "errors"},
    "model": {"recipe", "result", "errors"},
    "data": {"recipe", "errors"},
    "recipe": {"errors", "result"},
    "result": {"errors"},
}
DOORS = {
    "yaml": {"recipe/loader.py"},
    "tensorflow": {
        "model/source.py",
        "model/keras_file.py",
        "model/mixed_precision.py",
        "quantize/convert.py",
        "quantize/integer.py",
        "quantize/stock_ranges.py",
    },
    "PIL": {"data/", "worker/demo.py"},
    "ai_edge_litert.compiled_model": {"model/timed_compiled.py"},
    "ai_edge_litert.interpreter": {"model/opening.py", "model/tap.py"},
    "ai_edge_litert.schema_py_generated": {
        "model/flatbuffer.py",
        "model/packing.py",
        "model/tables.py",
        "model/editing.py",
        "model/sharing.py",
        "model/reductions.py",
        "model/adding.py",
        "model/substitutes.py",
    },
    "click": {"cli/"},
    "rich.console": {"report/", "cli/printing.py", "cli/progress.py"},
    "vl_convert": {"report/html/svg.py"},
    "platformdirs": {"cache/place.py"},
}


def room_of(file: Path) -> str:
    part = file.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def imports(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def own_imports(file: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(file) if name.startswith("tflite_ptq.")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_a_room_imports_only_from_below(file: Path) -> None:
    room = room_of(file)
    if room in ("__init__", "__main__"):
        return
    for other in own_imports(file) - {room}:
        assert LEVEL[other] >= LEVEL[room], f"{file.name} in {room} imports {other}, which is above it"
        assert room not in MAY_IMPORT or other in MAY_IMPORT[room], f"{room} may not import {other}"


@pytest.mark.parametrize("module", DOORS)
def test_one_door_per_outside_thing(module: str) -> None:
    users = {
        file.relative_to(PACKAGE).as_posix()
        for file in FILES
        for name in imports(file)
        if name == module or name.startswith(f"{module}.")
    }
    assert users, f"nothing imports {module}: is the door's name still right?"
    assert all(any(user.startswith(door) for door in DOORS[module]) for user in users), users


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_one_idea_a_file(file: Path) -> None:
    assert file.stem not in {"utils", "util", "helpers", "common", "manager", "misc"}
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300, "split it: about 250 lines are one idea"
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or file.name == "__init__.py"
    if file.name == "__init__.py":
        assert len(tree.body) == 1, "an __init__.py holds a docstring and nothing else"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["schema"], ["check", "--help"], ["convert", "--help"], ["cache", "show"]], ids=" ".join
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    heavy = ["tensorflow", "numpy", "ai_edge_litert", "PIL", "sklearn", "keras"]
    code = (
        "import sys\nfrom tflite_ptq.cli.main import main\n"
        f"try: main({arguments!r})\n"
        f"except SystemExit as end: assert not end.code, end.code\n"
        f"loaded = [m for m in {heavy!r} if m in sys.modules]\nassert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_parent_of_a_run_imports_nothing_heavy() -> None:
    code = (
        "import sys\nimport tflite_ptq.pipeline, tflite_ptq.benchmarking, tflite_ptq.starting, tflite_ptq.checking\n"
        "import tflite_ptq.manifest\n"
        "import tflite_ptq.report.console, tflite_ptq.report.comparison, tflite_ptq.report.files\n"
        "loaded = [m for m in ('tensorflow', 'numpy', 'ai_edge_litert', 'PIL', 'sklearn') if m in sys.modules]\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
