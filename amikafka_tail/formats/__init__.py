"""The formats of published messages. The built-in ones are registered like any plugin."""
