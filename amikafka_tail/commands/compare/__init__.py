"""`amikafka compare`: does amikafka publish what the module app_ami_kafka publishes?"""
