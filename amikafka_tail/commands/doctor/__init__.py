"""`amikafka doctor`: checks the whole path from Asterisk to Kafka and says how to fix each finding."""
