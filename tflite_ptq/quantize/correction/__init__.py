"""Corrections that cost nothing at run time: what quantization adds to a layer on average is taken out of its bias."""
