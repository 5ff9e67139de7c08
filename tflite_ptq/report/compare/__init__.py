"""Two runs side by side: the result first (pure), its renderers later."""
