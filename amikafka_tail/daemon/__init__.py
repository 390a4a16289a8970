"""The service: its life, its log, what it says to systemd, and its status."""
