"""On PYTHONPATH: makes a child process crash or hang where the environment says, as TensorFlow or LiteRT may.

SABOTAGE is ``<worker module>:<what>``; for the converter ``<what>`` happens at the conversion of SABOTAGE_VARIANT, for
the others when they start: all of them, or with SABOTAGE_TURNS those whose number, counted from 1 in the folder
SABOTAGE_COUNT, is in that list.
"""

import os
import signal
import sys
import threading
import time


def act(what: str) -> None:
    if what == "sleep":
        time.sleep(600)
    os.kill(os.getpid(), getattr(signal, what))


def wrap(what: str) -> None:
    name = "tflite_ptq.worker.converter"
    while not hasattr(sys.modules.get(name), "serve") or not hasattr(sys.modules[name], "_CalibrationStream"):
        time.sleep(0.005)
    module = sys.modules[name]
    convert = module.convert

    def sabotaged(saved_model, variant, representative):
        if variant is not None and variant.name == os.environ["SABOTAGE_VARIANT"]:
            act(what)
        return convert(saved_model, variant, representative)

    module.convert = sabotaged


def my_turn() -> bool:
    if "SABOTAGE_TURNS" not in os.environ:
        return True
    folder = os.environ["SABOTAGE_COUNT"]
    number = len(os.listdir(folder)) + 1  # noqa: PTH208
    with open(os.path.join(folder, str(number)), "x"):  # noqa: PTH118, PTH123
        return str(number) in os.environ["SABOTAGE_TURNS"].split(",")


worker, _, what = os.environ.get("SABOTAGE", ":").partition(":")
if worker and f"tflite_ptq.worker.{worker} " in " ".join(sys.orig_argv):
    if worker == "converter":
        threading.Thread(target=wrap, args=(what,), daemon=True).start()
    elif my_turn():
        act(what)
