"""Labels from a CSV: a row a file, with the file's class (or regression target, or text) in one of its columns."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.targets import Transcript
from tflite_ptq.errors import DataError
from tflite_ptq.recipe.labels import CsvLabels, TranscriptLabels

_NAMED = 5
ValueT = TypeVar("ValueT")

Row = tuple[int, str, str]
"""Line number in the CSV, file, class: as written."""


def read_csv(refs: Sequence[SampleRef], block: CsvLabels, classes: tuple[str, ...] | None) -> list[int | float]:
    """The label of every sample, in the order of ``refs``.

    A row's file is the sample's path below the subset's folder, with or without its extension; all windows of a file
    share its row. A class is an index, or a name of ``classes`` (a name that looks like a number is a name first).
    Numbers that are not whole are regression targets, where no classes are listed.
    Raises DataError naming the CSV, the line, the value and the next step.
    """
    values = _matched(refs, block, "class_column", lambda text, place: _value(text, classes, place))
    if all(isinstance(value, int) or value.is_integer() for value in values):
        return [int(value) for value in values]
    return [float(value) for value in values]


def attach_transcripts(refs: Sequence[SampleRef], labels: TranscriptLabels) -> tuple[SampleRef, ...]:
    """Give every sample its text; rows and files as in ``read_csv``, and the same errors."""
    block = CsvLabels(
        csv=labels.transcripts,
        file_column=labels.file_column,
        class_column=labels.text_column,
        header=labels.header,
        delimiter=labels.delimiter,
    )
    texts = _matched(refs, block, "text_column", lambda text, place: text)
    return tuple(replace(ref, target=Transcript(text)) for ref, text in zip(refs, texts, strict=True))


def _matched(
    refs: Sequence[SampleRef], block: CsvLabels, setting: str, convert: Callable[[str, str], ValueT]
) -> list[ValueT]:
    """What ``convert`` makes of each sample's text, in the order of ``refs``; ``setting`` is the text column's key."""
    slots = _slots(refs)
    labels: dict[str, tuple[int, ValueT]] = {}
    missing: list[Row] = []
    for row in _rows(block, setting):
        line, file, text = row
        name = _known(file, slots)
        if name is None:
            missing.append(row)
            continue
        value = convert(text, f"{block.csv}:{line}")
        earlier_line, earlier = labels.setdefault(name, (line, value))
        if earlier != value:
            what = "class" if setting == "class_column" else "text"
            raise DataError(
                f"{block.csv}:{line}: '{file}' has {what} {text} here and {earlier} on line {earlier_line}; keep one"
            )
    if missing:
        raise _missing(missing, block, refs)
    return _in_order(refs, labels, block)


def _in_order(refs: Sequence[SampleRef], labels: dict[str, tuple[int, ValueT]], block: CsvLabels) -> list[ValueT]:
    values: list[ValueT] = []
    bare: list[str] = []
    for ref in refs:
        found = labels.get(ref.name) or labels.get(ref.file_name)
        if found is None:
            bare.append(ref.name)
        else:
            values.append(found[1])
    if bare:
        raise DataError(
            f"{block.csv}: {len(bare)} of {len(refs)} samples have no label: {_listed(bare)}; add their rows, or move "
            "the files away"
        )
    return values


def _rows(block: CsvLabels, text_setting: str) -> list[Row]:
    path = Path(block.csv)
    named = isinstance(block.file_column, str) or isinstance(block.class_column, str)
    header = named if block.header is None else block.header
    if named and not header:
        raise DataError(f"{path}: a column is given by name, which needs a header row; set labels.header to true")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, delimiter=block.delimiter)
            lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such label file; correct the path under labels") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a UTF-8 CSV: {error}; write the file again") from error
    heads = [cell.strip() for cell in lines.pop(0)[1]] if header and lines else []
    if not lines:
        raise DataError(f"{path}: holds no labels; write one row a sample")
    file_column = _column(block.file_column, heads, path, "file_column")
    class_column = _column(block.class_column, heads, path, text_setting)
    rows: list[Row] = []
    for line, cells in lines:
        for column, setting in ((file_column, "file_column"), (class_column, text_setting)):
            if not -len(cells) <= column < len(cells):
                raise DataError(
                    f"{path}:{line}: has {len(cells)} columns, no column {column}; correct the line, "
                    f"labels.{setting} or labels.delimiter ('{block.delimiter}')"
                )
        rows.append((line, cells[file_column].strip(), cells[class_column].strip()))
    return rows


def _column(column: int | str, heads: Sequence[str], path: Path, setting: str) -> int:
    if isinstance(column, int):
        return column
    if column not in heads:
        raise DataError(f"{path}:1: has no column '{column}'; correct labels.{setting} ({', '.join(heads)})")
    return heads.index(column)


def _slots(refs: Sequence[SampleRef]) -> dict[str, str]:
    """What a row may call a sample, and the name it is kept under."""
    slots: dict[str, str] = {}
    stems: dict[str, set[str]] = {}
    for ref in refs:
        file_name = ref.file_name
        slots[file_name] = file_name
        if ref.index is not None:
            slots[ref.name] = ref.name
        stems.setdefault(file_name.rpartition(".")[0], set()).add(file_name)
    for stem, names in stems.items():
        if len(names) == 1:
            slots.setdefault(stem, next(iter(names)))
    return slots


def _known(file: str, slots: dict[str, str]) -> str | None:
    return slots.get(file) or slots.get(file.replace("\\", "/").removeprefix("./"))


def _value(text: str, classes: tuple[str, ...] | None, place: str) -> int | float:
    if classes is not None and text in classes:
        return classes.index(text)
    try:
        number = float(text)
    except ValueError:
        step = "list the class names under dataset.classes" if classes is None else "add it to dataset.classes"
        raise DataError(f"{place}: class '{text}' is not a number; {step} or correct labels.class_column") from None
    if not math.isfinite(number):
        raise DataError(f"{place}: class '{text}' is not finite; correct the line")
    if classes is not None and not (number.is_integer() and 0 <= number < len(classes)):
        raise DataError(
            f"{place}: class {text} is out of range 0..{len(classes) - 1} of dataset.classes; correct the line or list "
            "all classes"
        )
    return int(number) if number.is_integer() else number


def _missing(missing: Sequence[Row], block: CsvLabels, refs: Sequence[SampleRef]) -> DataError:
    line, _, _ = missing[0]
    step = f"correct the rows or add the files below {refs[0].root}" if refs else "add the files"
    if line == 1 and not block.header:
        step += " (if line 1 is a header, set labels.header to true)"
    names = _listed([file for _, file, _ in missing])
    noun = "row names a file that does" if len(missing) == 1 else "rows name files that do"
    return DataError(f"{block.csv}:{line}: {len(missing)} {noun} not exist: {names}; {step}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:_NAMED]) + more
