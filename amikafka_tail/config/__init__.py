"""Configuration: Asterisk's dialect, the settings read from it, and who this Asterisk is."""
