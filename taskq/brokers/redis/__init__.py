"""The broker on Redis: streams with consumer groups."""

from taskq.brokers.redis.broker import RedisBroker

__all__ = ["RedisBroker"]
