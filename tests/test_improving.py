"""When one way to make a variant counts as closer to float32 than another: by paired differences, beyond chance."""

import pytest

from tflite_ptq.quantize.correction.closer import surely_closer


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((31, 32, 33), (30, 31, 32), True),  # the same gain everywhere: no doubt
        ((31, 32, 33), (31, 32, 33), False),
        ((30, 31, 32), (31, 32, 33), False),
        # gains 5, -4, 5, -4: mean 0.5, standard deviation sqrt(27), standard error 2.6
        ((35, 26, 35, 26), (30, 30, 30, 30), False),
        # gains 5, 3, 5, 3: mean 4, standard error 0.58
        ((35, 33, 35, 33), (30, 30, 30, 30), True),
        # gains 2, 1, 0: mean 1, standard deviation 1, standard error 0.577; two of them are more than the mean
        ((32, 31, 30), (30, 30, 30), False),
        ((33,) * 30 + (21,), (30,) * 31, True),  # 30 gain 3: mean 2.6, standard error 0.39; noise 0.0230 of 0.0310
        ((33,) * 30 + (10,), (30,) * 31, False),  # the one alone is 0.1
        ((32,), (30,), False),  # one sample proves nothing
        ((), (), False),
        ((32, 33), (30, 31, 32), False),  # not the same samples
    ],
)
def test_surely_closer(one: tuple[float, ...], other: tuple[float, ...], expected: bool) -> None:
    assert surely_closer(one, other) is expected
