"""The README's make rules, run by make with a tool that ends as it is told."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
Make = Callable[[str, int], tuple[int, list[str]]]

# Writes the model as convert does, says what it was asked, and ends with $CODE.
TOOL = """#!/bin/sh
echo "$@" >> calls
while [ $# -gt 0 ]; do
  if [ "$1" = --output ]; then mkdir -p "$2"; echo model > "$2/int8.tflite"; echo '{}' > "$2/report.json"; fi
  shift
done
exit $CODE
"""


@pytest.fixture
def make(tmp_path: Path) -> Make:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    (rules,) = re.findall(r"^```make\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "Makefile").write_text(rules, encoding="utf-8")
    for source in ("kws.yaml", "models/kws.keras", "bin/tflite-ptq"):
        (tmp_path / source).parent.mkdir(exist_ok=True)
        (tmp_path / source).write_text(TOOL, encoding="utf-8")
    (tmp_path / "bin" / "tflite-ptq").chmod(0o755)

    def call(target: str, code: int) -> tuple[int, list[str]]:
        (tmp_path / "calls").unlink(missing_ok=True)
        path = os.pathsep.join((str(tmp_path / "bin"), os.environ["PATH"]))
        # As in a shell of its own: an outer make's flags are not meant for this one.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        done = subprocess.run(
            ["make", target], cwd=tmp_path, env={**environment, "PATH": path, "CODE": str(code)}, capture_output=True,
            check=False,
        )  # fmt: skip
        calls = tmp_path / "calls"
        return done.returncode, calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []

    return call


CONVERT = "convert kws.yaml --quiet --output out/kws"
COMPARE = "compare baseline out/kws --max-drop 0.005 --max-size-ratio 1.02"


def test_a_kept_gate_makes_the_file_once(make: Make, tmp_path: Path) -> None:
    assert make("out/kws/int8.tflite", 0) == (0, [CONVERT])
    assert make("out/kws/int8.tflite", 0) == (0, [])
    os.utime(tmp_path / "kws.yaml", (2**33, 2**33))
    assert make("out/kws/int8.tflite", 0) == (0, [CONVERT])


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
def test_a_broken_gate_leaves_no_file_to_build_from(code: int, make: Make, tmp_path: Path) -> None:
    assert make("out/kws/int8.tflite", code) == (2, [CONVERT])
    assert not (tmp_path / "out/kws/int8.tflite").exists() and (tmp_path / "out/kws/report.json").exists()


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (5, 0), (4, 2)])
def test_a_draft_may_break_the_gate_only(code: int, ends: int, make: Make, tmp_path: Path) -> None:
    assert make("out/draft/int8.tflite", code)[0] == ends
    assert (tmp_path / "out/draft/int8.tflite").exists() is (ends == 0)


def test_regressions_and_accept(make: Make, tmp_path: Path) -> None:
    assert make("accept", 0) == (0, [CONVERT])
    assert (tmp_path / "baseline/report.json").exists()
    assert make("regressions", 0) == (0, [COMPARE])
    assert make("regressions", 5) == (2, [COMPARE])
