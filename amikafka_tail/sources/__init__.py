"""Where events come from. The built-ins here are registered like any plugin."""
