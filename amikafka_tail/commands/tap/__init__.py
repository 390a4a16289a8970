"""`amikafka tap`: live events as they would be published, without Kafka and without the daemon."""
