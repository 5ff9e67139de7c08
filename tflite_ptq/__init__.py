"""Post-training quantization for TensorFlow Lite (LiteRT): convert, audit, measure, gate and report from one recipe."""
