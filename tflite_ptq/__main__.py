"""``python -m tflite_ptq``."""

import sys

if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        # Python put the current folder first; a user's json.py or numpy.py there must not become ours.
        del sys.path[0]
    from tflite_ptq.cli.main import main

    main()
