"""``python -m tflite_ptq``."""

from tflite_ptq.cli.main import main

if __name__ == "__main__":
    main()
