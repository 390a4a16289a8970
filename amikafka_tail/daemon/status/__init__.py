"""The daemon's status: snapshot, verdict, status socket and metrics."""
