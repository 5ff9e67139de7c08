"""``report.html``: one page that needs nothing beside it. Reads only ``result.py`` and ``debug_result.py``."""
