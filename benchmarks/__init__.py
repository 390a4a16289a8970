"""Figures: see README.md."""
