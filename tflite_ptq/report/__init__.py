"""Gate verdicts (pure) and the renderers, which read only ``result.py``."""
