"""Recipe text -> the recipe: paths, overrides and short forms."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from recipe_text import SCHEMES, VALID, recipe, settle

from tflite_ptq.errors import UsageError
from tflite_ptq.recipe.json_schema import json_schema
from tflite_ptq.recipe.latency import ExternalDelegate
from tflite_ptq.recipe.loader import load


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(tmp_path, monkeypatch)


def test_valid_recipe(tmp_path: Path) -> None:
    Path("r.yaml").write_text(VALID, encoding="utf-8")
    loaded = load(Path("r.yaml"))
    assert loaded.path == tmp_path / "r.yaml"
    assert loaded.sha256 == hashlib.sha256(VALID.encode()).hexdigest()
    assert loaded.overrides == ()
    assert loaded.recipe.model.path == str(tmp_path / "model.keras")
    assert [variant.name for variant in loaded.recipe.variants] == ["dynamic", "int8"]
    assert loaded.recipe.benchmark.latency is not None and loaded.recipe.benchmark.latency.threads == (1,)
    limits = loaded.recipe.gate["int8"].accuracy
    assert limits is not None and limits.max_drop == 0.01


def test_missing_file_and_folder() -> None:
    with pytest.raises(UsageError, match=r"^no\.yaml: no such recipe; 'tflite-ptq init MODEL' writes one$"):
        load(Path("no.yaml"))
    Path("folder").mkdir()
    with pytest.raises(UsageError, match=r"^folder: expected a recipe file, got a folder; name the \.yaml file in it$"):
        load(Path("folder"))


# (what the recipe says, what comes of it; {} is the recipe's folder)
PATHS = [
    ("a/b", "{}/a/b"),
    ("/a/b", "/a/b"),
    ("${HERE_DIR}/m", "/data/here/m"),
    ("x-${RELATIVE_DIR}", "{}/x-beside"),
    ("${RELATIVE_DIR}/m", "{}/beside/m"),
    ("$HOME/$${x}", "{}/$HOME/${{x}}"),
]


@pytest.mark.parametrize(("text", "expected"), PATHS)
def test_paths(text: str, expected: str, tmp_path: Path) -> None:
    assert recipe(VALID.replace("model.keras", f"'{text}'")).model.path == expected.format(tmp_path)


def test_home_and_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of/someone")
    assert recipe(VALID + "output: ~/out\n").output == "/home/of/someone/out"


def test_variable_counts_from_the_working_directory(tmp_path: Path) -> None:
    Path("sub").mkdir()
    Path("sub/r.yaml").write_text(VALID.replace("model.keras", "'${RELATIVE_DIR}/m'"), encoding="utf-8")
    loaded = load(Path("sub/r.yaml"))
    assert loaded.recipe.model.path == str(tmp_path / "beside/m")
    assert loaded.recipe.dataset is not None and loaded.recipe.dataset.evaluation is not None
    assert loaded.recipe.dataset.evaluation.path == str(tmp_path / "sub/images")


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (["images/y.csv", "y.csv"], "images/y.csv"),
        (["images/other.csv", "y.csv"], "y.csv"),
        (["images/other.csv"], "images/y.csv"),
        ([], "y.csv"),
    ],
)
def test_labels_lie_inside_the_folder_or_beside_the_recipe(made: list[str], expected: str, tmp_path: Path) -> None:
    for name in made:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    dataset = recipe(VALID.replace("labels: folders", "labels: y.csv")).dataset
    assert dataset is not None and dataset.evaluation is not None
    assert dataset.evaluation.labels == str(tmp_path / expected)


def test_yaml_1_2_scalars() -> None:
    text = VALID.replace("{type: image}", "{type: image}\n  classes: [no, on, yes, 1:30, 0..1]")
    dataset = recipe(text).dataset
    assert dataset is not None and dataset.classes == ("no", "on", "yes", "1:30", "0..1")


@pytest.mark.parametrize(
    ("delegates", "libraries", "labels"),
    [
        ("{library: sub/x.so}", ["{base}/sub/x.so"], ("x.so",)),
        ("[cpu, {library: ./x.so, options: {b: true, a: 2}}]", ["{base}/x.so"], ("cpu", "x.so(b=true,a=2)")),
        ("[{library: beside.so}]", ["{base}/beside.so"], ("beside.so",)),
        ("[{library: libedgetpu.so.1}]", ["libedgetpu.so.1"], ("libedgetpu.so.1",)),  # for the system to find
        ("[{library: /opt/x.so}]", ["/opt/x.so"], ("x.so",)),
    ],
)
def test_external_delegates(delegates: str, libraries: list[str], labels: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "beside.so").touch()
    path = tmp_path / "r.yaml"
    path.write_text(VALID.replace("delegates: [cpu]", f"delegates: {delegates}"), encoding="utf-8")
    latency = load(path).recipe.benchmark.latency
    assert latency is not None and latency.labels == labels
    found = [one.library for one in latency.delegates if isinstance(one, ExternalDelegate)]
    assert found == [library.format(base=tmp_path) for library in libraries]


def test_overrides() -> None:
    changed = recipe(
        VALID,
        "variants.1.io=uint8",
        "variants.0.scheme=float16",
        "variants.2={scheme: int8, name: third}",
        "benchmark.latency.threads=[1, 2]",
        "model.signature=serve",
        "dataset.evaluation.include_calibration=true",
        "gate={}",
    )
    assert [(v.name, v.scheme, v.io) for v in changed.variants] == [
        ("float16", "float16", "float32"),
        ("int8-uint8", "int8", "uint8"),
        ("third", "int8", "float32"),
    ]
    assert changed.benchmark.latency is not None and changed.benchmark.latency.threads == (1, 2)
    assert changed.model.signature == "serve" and changed.gate == {}


BAD_OVERRIDES = [
    ("variants", "--set variants: expected key.path=value, for example --set variants.0.io=int8"),
    ("model..path=1", "--set model..path=1: expected key.path=value, for example --set variants.0.io=int8"),
    (
        "model.pth=x",
        "--set model.pth=x: model.pth: unknown key; did you mean 'path'? (allowed: path, signature, inputs, trust)",
    ),
    (
        "variants.x.io=int8",
        "--set variants.x.io=int8: variants is a list; name its entry by number (0 to 1, or 2 to add one), not 'x'",
    ),
    (
        "variants.9=int8",
        "--set variants.9=int8: variants is a list; name its entry by number (0 to 1, or 2 to add one), not '9'",
    ),
    ("name.x=1", "--set name.x=1: name is 'kws' and holds no keys; set name itself"),
    (
        "name=[",
        "--set name=[: the value is not valid YAML (expected the node content, but found '<stream end>'); "
        "put it in quotes",
    ),
    (
        "variants.0=int_8",
        f"--set variants.0=int_8: variants[0]: 'int_8' is not a scheme; did you mean 'int8'? {SCHEMES}",
    ),
    (
        "dataset.calibration.samples=x",
        "--set dataset.calibration.samples=x: dataset.calibration.samples: expected a whole number, got 'x'",
    ),
]


@pytest.mark.parametrize(("override", "message"), BAD_OVERRIDES)
def test_bad_override(override: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipe(VALID, override)
    assert str(caught.value) == message


def test_json_schema_takes_short_forms() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    assert definitions["Variant"]["anyOf"][0] == {"type": "string", "enum": ["dynamic", "float16", "int8", "int16x8"]}
    assert "name" not in definitions["Variant"]["anyOf"][1].get("required", [])
    assert {"enum"} in [set(form) for form in definitions["Metric"]["anyOf"][0]["anyOf"]]
    for block, key in [("MeanStd", "mean"), ("LatencySettings", "threads"), ("LatencySettings", "delegates")]:
        assert [form.get("type") == "array" for form in definitions[block]["properties"][key]["anyOf"]] == [False, True]
