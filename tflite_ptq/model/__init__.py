"""The three doors to a model: source (TensorFlow, Keras), flatbuffer (bytes) and interpreter (LiteRT)."""
