"""The result store in MongoDB, in Celery's collections."""

from taskq.backends.mongodb.backend import MongoBackend

__all__ = ["MongoBackend"]
