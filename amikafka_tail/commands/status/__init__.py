"""`amikafka status` and `amikafka top`: the daemon's state on a screen."""
