"""Accuracy, fidelity, latency and the environment they were measured in."""
