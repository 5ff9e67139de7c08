"""Speech against hand counts, alone and in a whole run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from identity_model import identity

from tflite_ptq.data.targets import Transcript
from tflite_ptq.errors import MeasurementError
from tflite_ptq.measure.aggregates import aggregate
from tflite_ptq.measure.words import said, word_errors
from tflite_ptq.recipe.metric import Metric


def scores_of(indices: Sequence[int], classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[list(indices)][np.newaxis]


@pytest.mark.parametrize(
    ("settings", "output", "text"),
    [
        # a b a b, the blank (last) parts the doubled b
        ({"alphabet": "ab "}, scores_of([0, 0, 1, 3, 1, 1, 2, 0, 3], 4), "abb a"),
        ({"alphabet": "ab", "blank": 0}, scores_of([1, 0, 1, 2, 2], 3), "aab"),
        ({"alphabet": "ab", "decode": "characters"}, scores_of([0, 0, 1], 2), "aab"),
        ({"alphabet": "ab", "decode": "characters", "blank": 0}, np.array([[1, 2, 0, 0]], np.int32), "ab"),
        ({"alphabet": "ab"}, np.array([[0, 0, 2, 0, 1]], np.int32), "aab"),
    ],
)
def test_greedy_decoding_by_hand(settings: dict[str, Any], output: np.ndarray, text: str) -> None:
    assert said(output, Metric.model_validate({"name": "wer", **settings})) == text


def test_alphabet_and_output_that_do_not_fit() -> None:
    metric = Metric.model_validate({"name": "wer", "alphabet": "abc"})
    with pytest.raises(MeasurementError, match=r"classes up to 4, alphabet and blank make 4 \(0 to 3\)"):
        said(scores_of([0], 5), metric)
    with pytest.raises(MeasurementError, match=r"classes up to 9, alphabet and blank make 4 \(0 to 3\)"):
        said(np.array([[9]], np.int32), metric)
    with pytest.raises(MeasurementError, match=r"has shape \(1, 4\) \(float32\), neither scores"):
        said(np.zeros((1, 4), np.float32), metric)


@pytest.mark.parametrize(
    ("transcript", "text", "errors"),
    [
        ("the cat sat", "the cat sat", 0),
        ("the cat sat", "the bat", 2),  # one substituted, one deleted
        ("the cat", "so the cat is", 2),  # two inserted
        ("the cat", "", 2),
        ("", "a word", 2),
        ("one  two", " one two ", 0),  # white space only parts words
    ],
)
def test_word_errors_by_hand(transcript: str, text: str, errors: int) -> None:
    assert word_errors(transcript, text).tolist() == [errors, len(transcript.split())]


def test_word_error_rate_is_over_all_words() -> None:
    rows = np.array([[1.0, 4.0], [2.0, 2.0]])
    assert aggregate(Metric(name="wer", alphabet="a"), rows, [Transcript("x")] * 2) == 0.5
    with pytest.raises(MeasurementError, match="there is nothing to divide by"):
        aggregate(Metric(name="wer", alphabet="a"), np.zeros((2, 2)), [Transcript("")] * 2)


def test_a_run_with_transcripts(tmp_path: Path, run: Command, write_recipe: Callable[..., Path]) -> None:
    (tmp_path / "features").mkdir()
    alphabet = "act "
    spoken = {"0": "cat at", "1": "a cat"}
    for name, text in spoken.items():
        frames = [alphabet.index(letter) for letter in text] + [4] * (7 - len(text))
        np.save(tmp_path / f"features/{name}.npy", scores_of(frames, 5)[0])
    (tmp_path / "texts.csv").write_text('file,text\n0,cat sat at\n1,"a cat"\n')
    model = identity(tmp_path / "m.tflite", (1, 7, 5))
    labels = {"transcripts": "texts.csv", "file_column": "file", "text_column": "text"}
    dataset = {"format": {"type": "npy"}, "evaluation": {"path": "features", "labels": labels}}
    metrics = {"accuracy": {"metrics": [{"name": "wer", "alphabet": alphabet}]}, "latency": None}
    recipe = write_recipe(model, dataset, benchmark=metrics)
    ended = run("convert", recipe, "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)["variants"][0]["accuracy"]["wer"]
    assert found["value"] == pytest.approx(1 / 5)
    (tmp_path / "texts.csv").write_text("file,text\n0,cat at\n")
    ended = run("convert", recipe, "--json")
    assert ended.code == 3 and "texts.csv: 1 of 2 samples have no label: '1.npy'" in ended.err
