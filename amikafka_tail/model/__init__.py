"""What flows between the rooms: events, payloads, gaps, counters, errors, sources. No I/O in here."""
