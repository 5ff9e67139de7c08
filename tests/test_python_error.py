"""Messages as TensorFlow 2.21 and Keras 3 make them -> the one line that a person needs."""

from __future__ import annotations

import pytest

from tflite_ptq.model.python_error import cause_of

STACK = """in user code:

    File "/home/me/net.py", line 9, in f  *
        def f(x): return l(x)
    File "/lib/keras/src/utils/traceback_utils.py", line 122, in error_handler  **
        raise e.with_traceback(filtered_tb) from None
    File "/home/me/my layers.py", line 4, in call
        if tf.shape(x)[0] > 3: y = x

"""
KERAS = """Exception encountered when calling L.call().

\x1b[1mA symbolic `tf.Tensor` is no Python `bool`.\x1b[0m

Arguments received by L.call():
  • x=tf.Tensor(shape=(1, 4), dtype=float32)"""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (KERAS, "Exception encountered when calling L.call(). A symbolic `tf.Tensor` is no Python `bool`."),
        (
            STACK + "    ValueError: Cannot reshape 4 elements to [3].\n",
            "/home/me/my layers.py:4: ValueError: Cannot reshape 4 elements to [3].",
        ),
        (
            STACK + "    TypeError: " + KERAS.replace("\n", "\n    "),
            "/home/me/my layers.py:4: TypeError: Exception encountered when calling L.call(). A symbolic `tf.Tensor` "
            "is no Python `bool`.",
        ),
        ("\n  two\nlines", "two"),
        ("", "KeyError"),
    ],
)
def test_cause(message: str, expected: str) -> None:
    assert cause_of(type("KeyError", (Exception,), {})(message)) == expected
