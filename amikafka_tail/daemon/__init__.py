"""The service: its life cycle, its log, its messages to systemd, and its status."""
