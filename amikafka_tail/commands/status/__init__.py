"""`amikafka status` and `amikafka top`: screens made of what the daemon says."""
