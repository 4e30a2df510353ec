"""The result store on Redis, in Celery's layout."""

from taskq.backends.redis.backend import RedisBackend

__all__ = ["RedisBackend"]
