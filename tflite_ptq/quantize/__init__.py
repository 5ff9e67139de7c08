"""Conversion, affine arithmetic (pure) and the audit of what came out."""
