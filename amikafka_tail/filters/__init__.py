"""Which events are published. The built-ins here are registered like any plugin."""
