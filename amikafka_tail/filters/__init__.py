"""The filters that select events. The built-in one is registered like any plugin."""
