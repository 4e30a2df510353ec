"""Whatever else kombu reaches: SQS, MongoDB, Pub/Sub, a file system, Celery's layout on Redis."""

from taskq.brokers.kombu.broker import KombuBroker

__all__ = ["KombuBroker"]
