"""Where events come in: connections with their recorder, log files, recordings."""
