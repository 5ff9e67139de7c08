"""report.md in a pull request: rows that can be read, and what is long folded away with nothing lost."""

from __future__ import annotations

import re

from html_report import REPORT

from tflite_ptq.report import markdown
from tflite_ptq.result import Audit, VariantResult

FUSED = ";".join(f"model/block_{number}/BiasAdd/ReadVariableOp" for number in range(6))
SHA256 = "0123456789abcdef" * 4
NET = VariantResult(
    name="float32",
    scheme="float32",
    file="float32.tflite",
    sha256=SHA256,
    audit=Audit(
        fully_integer=False,
        input_dtypes={"in": "float32"},
        output_dtypes={"out": "float32"},
        float_ops=tuple(f"CONV_2D (layer_{number}/{FUSED})" for number in range(14)),
        ops={"CONV_2D": 14, "SHAPE": 2},
    ),
)


def section(title: str, text: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_audits_rows_are_short_and_the_rest_is_folded() -> None:
    text = section("Audit", markdown.render(REPORT.model_copy(update={"variants": (NET,)})))
    table, folded = text.split("<details>")
    assert table.strip().splitlines()[2:] == [
        "| float32 | `float32.tflite` | no | `in` float32 | `out` float32 | 14 of 16 |"
    ]
    assert folded.rstrip().endswith("</details>")
    assert f"\n- **float32**: sha256 `{SHA256}`\n  - all: CONV\\_2D 14, SHAPE 2\n" in folded
    assert (
        folded.count("`CONV_2D (layer_") == 10
        and "`CONV_2D (layer_9/model/block_0/BiasAdd/ReadVariableOp;...)`" in folded
    )
    assert "and 4 more, in report.json\n" in folded


def test_every_fold_is_closed_and_its_content_is_markdown() -> None:
    text = markdown.render(REPORT)
    parts = re.findall(r"^<details><summary>(.+?)</summary>\n(.*?)^</details>$", text, re.MULTILINE | re.DOTALL)
    assert [title for title, _ in parts] == [
        "Confusion matrices",
        "Operators and sha256 of each file",
        "Verdict on each layer",
    ]
    assert text.count("<details>") == text.count("</details>") == len(parts)
    # GitHub reads Markdown in HTML only after a blank line, and the end of a table only before one.
    assert all(content.startswith("\n") and content.endswith("\n\n") for _, content in parts)
