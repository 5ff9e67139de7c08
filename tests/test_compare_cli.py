"""``tflite-ptq compare``: command lines and run folders -> exit code, output, exact messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command
from test_ci import annotations
from test_compare import BASE, ENVIRONMENT, INT8, timing, with_int8

from tflite_ptq.report import files

SLOWER = with_int8(size_bytes=500, latency=(timing(1500, 1.02), timing(2000, delegate="cpu")))
ELSEWHERE = BASE.model_copy(update={"environment": ENVIRONMENT.model_copy(update={"cores": 64})})


@pytest.fixture(autouse=True)
def runs(tmp_path: Path) -> None:
    for name, report in {"base line": BASE, "nëw": SLOWER, "elsewhere": ELSEWHERE}.items():
        files.write(report, tmp_path / name)


CODES = [
    (["base line", "nëw"], 0),
    (["base line/report.json", "nëw/report.json"], 0),
    (["base line", "nëw", "--max-drop", "0"], 0),
    (["base line", "nëw", "--max-drop", "top1=0", "--max-drop", "mae=0.1"], 0),
    (["base line", "nëw", "--max-size-ratio", "1.3", "--max-slowdown", "1.6"], 0),
    (["base line", "nëw", "--max-size-ratio", "1.2"], 5),
    (["base line", "nëw", "--max-slowdown", "1.2"], 5),
    (["base line", "nëw", "--max-slowdown", "1.2", "--only", "float32"], 0),
    (["nëw", "base line", "--max-size-ratio", "1", "--max-slowdown", "1"], 0),
    (["base line", "elsewhere"], 0),
    (["base line", "elsewhere", "--max-size-ratio", "1"], 0),
    (["base line", "elsewhere", "--max-slowdown", "1"], 2),
    (["base line", "elsewhere", "--max-slowdown", "1", "--allow-other-machine"], 0),
    (["base line"], 2),
    (["base line", "nëw", "--json", "--markdown"], 2),
    *((["base line", "nëw", option, value], 2) for value in ("nan", "-1", "x", "inf") for option in (
        "--max-drop", "--max-size-ratio", "--max-slowdown")),
    (["base line", "nëw", "--max-drop", "=0.1"], 2),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code"), CODES)
def test_exit_code(arguments: list[str], code: int, run: Command) -> None:
    ended = run("compare", *arguments)
    assert ended.code == code, ended.err
    assert ("Traceback" in ended.err, bool(ended.err)) == (False, code == 2)


def test_json_and_markdown(run: Command) -> None:
    found = json.loads(run("compare", "base line", "nëw", "--json", "--max-size-ratio", "1.2").out)
    assert (found["status"], found["baseline"]["run"], found["candidate"]["run"]) == ("failed", "base line", "nëw")
    assert [(check["check"], check["measured"], check["passed"]) for check in found["limits"]] == [
        ("size.max_ratio", 1.25, False)
    ]
    assert run("compare", "base line", "nëw", "--markdown").out.startswith(
        "# ic against its baseline: compared\n\nNo limits given. "
    )


def test_github_is_told(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    ended = run("compare", "base line", "nëw", "--json", "--max-size-ratio", "1.2")
    assert ended.code == 5 and json.loads(ended.out)
    assert annotations(ended.err) == [
        (
            {"title": "tflite-ptq compare: int8 size.max_ratio"},
            "int8: size.max_ratio against the baseline is broken (limit: at most 1.200; measured: 1.250)",
        )
    ]
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").startswith("# ic against its baseline: failed\n")


AGAIN = "run `tflite-ptq convert` again to write it anew"
WHOLE = json.dumps(BASE.model_dump())
# What lies at "bad" (None: nothing; text: report.json in it) -> the message.
BAD = [
    (None, "bad: no such run; give the folder that `tflite-ptq convert` wrote, or its report.json"),
    (
        "",
        f"bad/report.json:1:1: not valid JSON (Expecting value); the file is truncated or was edited: {AGAIN}",
    ),
    (
        WHOLE[:100],
        f"bad/report.json:1:{WHOLE.index('abab')}: not valid JSON (Unterminated string starting at); the file is "
        f"truncated or was edited: {AGAIN}",
    ),
    (
        WHOLE.replace("report/1", "report/9"),
        "bad/report.json: expected format 'tflite-ptq-report/1', found format 'tflite-ptq-report/9'; use the "
        "tflite-ptq version that wrote it, or run `tflite-ptq convert` again",
    ),
    (
        WHOLE.replace('"size_bytes": 400', '"size_bytes": "small"'),
        "bad/report.json: variants.1.size_bytes: Input should be a valid integer (faults: 1); the file was edited or "
        f"is damaged: {AGAIN}",
    ),
    (
        WHOLE.replace('"cores": 2', '"cores": null'),
        "bad/report.json: environment.cores: Input should be a valid integer (faults: 1); the file was edited or is "
        f"damaged: {AGAIN}",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD)
@pytest.mark.parametrize("order", [["bad", "nëw"], ["base line", "bad"]])
def test_a_run_that_cannot_be_read(
    order: list[str], text: str | None, message: str, run: Command, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "report.json").write_text(text, encoding="utf-8")
    ended = run("compare", *order)
    assert (ended.code, ended.message) == (2, message)


def test_a_folder_that_is_no_run(run: Command, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert run("compare", "photos", "nëw").message == (
        "photos: holds no report.json; give the folder that `tflite-ptq convert` wrote (it names it at the end: "
        "'Files in ...')"
    )


def test_a_failed_variant_is_said(run: Command, tmp_path: Path) -> None:
    broken = INT8.model_copy(update={"error": "no kernel", "size_bytes": None, "latency": None})
    report = BASE.model_copy(update={"variants": (BASE.variants[0], broken), "status": "error"})
    files.write(report, tmp_path / "broken")
    ended = run("compare", "base line", "broken", "--max-size-ratio", "9")
    assert ended.code == 5
    assert "int8: no kernel" in ended.out and "not measured" in ended.out


def test_it_starts_light() -> None:
    code = (
        "import sys\nfrom tflite_ptq.cli.main import main\ntry: main(['compare', 'x', 'y'])\n"
        "except SystemExit as end: assert end.code == 2, end.code\n"
        "loaded = [m for m in ('tensorflow', 'numpy', 'PIL', 'sklearn', 'ai_edge_litert') if m in sys.modules]\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
