"""Plugins: the hooks, what is registered, and how it is found."""
