"""amikafka: carries every event of an Asterisk PBX to Apache Kafka."""

__version__ = "0.1.0"
