"""RabbitMQ and other brokers that speak AMQP 0-9-1, by py-amqp or pika."""

from taskq.brokers.amqp.broker import AmqpBroker

__all__ = ["AmqpBroker"]
