"""Plugins: the hooks, the registry, and the loader."""
