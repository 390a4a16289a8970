"""Kafka: the producer, the cluster, topics. Nothing else imports confluent_kafka."""
