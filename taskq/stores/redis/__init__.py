"""Redis: where it is, how to talk to it, and where things lie in it."""

from taskq.stores.redis.address import Address
from taskq.stores.redis.calls import Call, Script, Steps
from taskq.stores.redis.client import RedisStore

__all__ = ["Address", "Call", "RedisStore", "Script", "Steps"]
