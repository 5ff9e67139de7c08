"""What the activations of a model look like on calibration data, and the quantization ranges that follow from it."""
