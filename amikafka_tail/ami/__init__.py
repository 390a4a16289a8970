"""The Asterisk Manager Interface as bytes and values: framing, events, login. No I/O in here."""
