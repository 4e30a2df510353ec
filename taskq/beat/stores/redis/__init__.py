"""A schedule store in Redis; the broker's own, if that is one."""

from taskq.beat.stores.redis.store import RedisScheduleStore

__all__ = ["RedisScheduleStore"]
