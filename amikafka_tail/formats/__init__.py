"""What a published message looks like. The built-ins here are registered like any plugin."""
