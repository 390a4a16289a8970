"""`amikafka doctor`: walks the whole way from Asterisk to Kafka and says what to do about what it finds."""
