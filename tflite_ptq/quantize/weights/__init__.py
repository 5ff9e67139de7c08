"""Weights that lose less when they become integers: their ranges, their rounding, their balance between layers."""
