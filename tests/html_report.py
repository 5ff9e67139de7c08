"""A report by hand in which every field of the contract is filled, with names that HTML has to escape."""

from __future__ import annotations

import base64
import io

from PIL import Image

from tflite_ptq.debug_result import Closeness, CorrectionTrial, DebugReport, LayerDebug, TensorError
from tflite_ptq.result import (
    Audit,
    Classes,
    ClassResult,
    Correction,
    DatasetInfo,
    Environment,
    Fidelity,
    GateCheck,
    Interval,
    Latency,
    LayerCorrection,
    Metric,
    ModelInfo,
    RecipeInfo,
    Regression,
    Report,
    SkippedSample,
    TensorInfo,
    VariantResult,
)

HOSTILE = """<img src=x onerror="alert('1')">&amp;"""
MODEL_SHA256 = "cd" * 32


def thumbnail(level: int) -> str:
    image = Image.new("L", (8, 8), 32)
    image.paste(level, (2, 1, 6, 7))
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def latency(delegate: str, threads: int, median_ns: int, float32_ns: int | None, warning: str = "") -> Latency:
    """A fully filled timing whose distribution is skewed to the right, as real ones are."""
    speedup = None if float32_ns is None else float32_ns / median_ns
    return Latency(
        delegate=delegate,
        threads=threads,
        runs=2500,
        median_ns=median_ns,
        p90_ns=median_ns * 12 // 10,
        p99_ns=median_ns * 17 // 10,
        mean_ns=median_ns * 21 // 20,
        load_ns=3_100_000,
        first_ns=2_050_000,
        peak_memory_bytes=57 * 1024**2,
        delegated_ops=9 if delegate == "xnnpack" else 0,
        total_ops=12,
        speedup=speedup,
        processes=5,
        process_medians_ns=tuple(median_ns * (97 + 2 * i) // 100 for i in range(5)),
        median_interval_ns=Interval(low=median_ns * 0.97, high=median_ns * 1.03),
        speedup_interval=None if speedup is None else Interval(low=speedup * 0.94, high=speedup * 1.05),
        precision=0.03,
        precise=False,
        percentiles_ns={
            "0": median_ns * 94 // 100,
            "5": median_ns * 96 // 100,
            "25": median_ns * 98 // 100,
            "50": median_ns,
            "75": median_ns * 106 // 100,
            "95": median_ns * 130 // 100,
            "100": median_ns * 4,
        },
        arena_bytes=81_920,
        left_ops={"SOFTMAX": 1, "MEAN": 2} if delegate == "xnnpack" else None,
        warnings=(warning,) if warning else (),
    )


def accuracy(value: float, float32: float | None) -> dict[str, Metric]:
    change = None if float32 is None else value - float32
    return {
        "top1": Metric(
            value=value,
            change=change,
            interval=Interval(low=value - 0.021, high=value + 0.019),
            change_interval=None if change is None else Interval(low=change - 0.006, high=change + 0.005),
            p_value=None if change is None else 0.0004 if change < -0.02 else 0.375,
            test=None if change is None else "mcnemar",
        ),
        "mae": Metric(
            value=0.0123 / value,
            change=None if float32 is None else 0.0123 / value - 0.0123 / float32,
            higher_is_better=False,
        ),
    }


CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "Frosch 🐸", HOSTILE, "ship", "truck")
CHANGES = (0.0, -0.02, 0.01, -0.11, 0.0, -0.04, 0.02, -0.01, 0.0, 0.03)

CLASSES = Classes(
    classes=tuple(
        ClassResult(name=name, samples=100, recall=0.88 + change, precision=0.9, f1=0.89, change=change)
        for name, change in zip(CLASS_NAMES, CHANGES, strict=True)
    ),
    confusion=tuple(tuple(91 if i == j else 1 for j in range(10)) for i in range(10)),
    regressed=21,
    mended=9,
    regressions=tuple(
        Regression(
            sample=f"cat/{i:04} {HOSTILE if i == 1 else 'ü'}.png",
            expected="cat",
            predicted=("dog", HOSTILE)[i % 2],
            margin=0.93 - 0.1 * i,
            thumbnail=None if i == 4 else thumbnail(120 + 20 * i),
        )
        for i in range(6)
    ),
)

_TENSOR = TensorInfo(name=HOSTILE, shape=(1, 32, 32, 3), dtype="float32")


def variant(name: str, scheme: str, size_bytes: int, top1: float, ns: tuple[int, int, int]) -> VariantResult:
    """One with everything measured; ``ns`` are the medians of cpu 1, xnnpack 1 and xnnpack 2."""
    yardstick = name == "float32"
    float32_ns = (None, None, None) if yardstick else (830_000, 260_000, 155_000)
    timings = zip((("cpu", 1), ("xnnpack", 1), ("xnnpack", 2)), ns, float32_ns, strict=True)
    doubt = "" if scheme != "int8" else "spread of 14 % between processes; close other programs"
    return VariantResult(
        name=name,
        scheme=scheme,
        file=f"{name}.tflite",
        sha256="ef" * 32,
        size_bytes=size_bytes,
        audit=Audit(
            fully_integer=scheme in ("int8", "int16x8"),
            input_dtypes={HOSTILE: "float32"},
            output_dtypes={"Identity": "float32"},
            float_ops=() if scheme == "int8" else (f"CONV_2D ({HOSTILE})",),
            ops={"CONV_2D": 9, "ADD": 3},
        ),
        accuracy=accuracy(top1, None if yardstick else 0.8725),
        fidelity=None if yardstick else Fidelity(agreement=0.985, sqnr_db=31.26, samples=1000),
        classes=CLASSES if scheme == "int8" else None,
        latency=tuple(latency(*configuration, median, base, doubt) for configuration, median, base in timings),
        correction=Correction(
            method="sequential",
            sqnr_before_db=31.3,
            sqnr_after_db=37.1,
            held_back_samples=40,
            held_back=True,
            layers=(LayerCorrection(layer=f"a/{HOSTILE}", op="CONV_2D", status="kept", reason="closer by 5.8 dB"),),
        )
        if scheme == "int8"
        else None,
        notes=(f"a note with {HOSTILE}",) if scheme == "int8" else (),
    )


REPORT = Report(
    recipe=RecipeInfo(
        name="ic",
        path=f"/recipes/{HOSTILE}/ic.yaml",
        sha256="ab" * 32,
        overrides=("gate.int8.size.max_ratio=0.3",),
        text=f"version: 1\nname: ic  # {HOSTILE}\nmodel: {{path: ic.h5}}\n",
    ),
    environment=Environment(
        tool="0.1.0",
        python="3.11.9",
        platform="Linux-6.1",
        machine="x86_64",
        cpu="Xeon <2>",
        cores=2,
        tensorflow="2.21.0",
        ai_edge_litert="2.3.0",
        numpy=None,
    ),
    model=ModelInfo(path="ic.h5", sha256=MODEL_SHA256, format="keras2", inputs=(_TENSOR,), outputs=(_TENSOR,)),
    dataset=DatasetInfo(
        calibration_samples=100,
        evaluation_samples=1000,
        calibration_left_out=7,
        labelled=True,
        skipped=(SkippedSample(sample=f"cat/{HOSTILE}.jpg", reason="truncated"),),
        findings=(f"3 samples are duplicates: {HOSTILE}",),
    ),
    variants=(
        variant("float32", "float32", 311_296, 0.8725, (830_000, 260_000, 155_000)),
        variant("dynamic", "dynamic", 101_376, 0.871, (510_000, 214_000, 131_000)),
        variant("float16", "float16", 160_256, 0.8725, (828_000, 259_000, 156_000)),
        variant("int8", "int8", 96_256, 0.862, (320_000, 80_000, 52_000)),
        variant("int8-per-tensor", "int8", 90_112, 0.801, (318_000, 79_000, 51_000)),
        variant("int16x8", "int16x8", 99_328, 0.8735, (7_800_000, 7_790_000, 7_400_000)),
        VariantResult(
            name="identical",
            scheme="float16",
            file="identical.tflite",
            size_bytes=2_500_000,
            fidelity=Fidelity(agreement=1.0, sqnr_db=None, exact=True, samples=1000),
        ),
        VariantResult(name="量子化", scheme="int8", error=f"TFL_Foo has no integer kernel {HOSTILE}"),
    ),
    gate=(
        GateCheck(
            variant="int8",
            check="accuracy.top1.max_drop",
            limit=0.01,
            measured=0.0165,
            passed=False,
            confidence=0.95,
        ),
        GateCheck(variant="int8", check="latency.min_speedup[xnnpack,2]", limit=2.0, measured=2.98, passed=True),
        GateCheck(variant="int8", check="fully_integer", limit=True, measured=True, passed=True),
        GateCheck(variant="量子化", check="size.max_bytes", limit=100_000.0, measured=None, passed=False),
    ),
    status="error",
    errors=(f"the evaluation ran out of memory {HOSTILE}",),
    warnings=(f"load average 3.1 on 2 cores {HOSTILE}",),
    durations_s={"open": 4.25, "convert": 1.5},
)

BARE = Report(
    recipe=RecipeInfo(name="bare", path="bare.yaml", sha256="ab" * 32),
    environment=REPORT.environment,
    model=None,
    dataset=None,
    variants=(),
    status="error",
    errors=("the model cannot be opened",),
)


def _layer(name: str, share: float | None, alone_db: float | None) -> LayerDebug:
    return LayerDebug(
        name=name,
        op="CONV_2D",
        exclude=name,
        output=TensorError(tensor=name, closeness=Closeness(sqnr_db=28.4)),
        weight_sqnr_db=41.5,
        alone=Closeness(sqnr_db=alone_db, exact=alone_db is None),
        gain_db=1.25,
        error_share=share,
    )


DEBUG = DebugReport(
    recipe=REPORT.recipe,
    environment=REPORT.environment,
    model="ic.h5",
    model_sha256=MODEL_SHA256,
    variant="int8",
    entry={"scheme": "int8"},
    samples=64,
    subset="evaluation",
    method="minmax",
    whole=Closeness(sqnr_db=31.3),
    inputs=(),
    layers=(
        _layer("conv_1", 0.61, 33.5),
        _layer(HOSTILE, 0.34, 36.1),
        _layer("conv_3", 0.05, 44.0),
        _layer("x", 0.0, None),
    ),
    correction=CorrectionTrial(setting="auto"),
    methods=(),
    exclusions=(),
    duration_s=3.0,
)
