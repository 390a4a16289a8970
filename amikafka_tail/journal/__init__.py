"""What is on disk: the journal, the checkpoint, the dead letters."""
