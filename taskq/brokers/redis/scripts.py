"""The scripts of the broker; each file says what its keys and arguments are."""

from pathlib import Path

from taskq.backends.redis.scripts import LUA as RESULTS
from taskq.stores.redis.calls import Script

_LUA = Path(__file__).parent / "lua"

DECLARE = Script.read(_LUA, "clock", "declare")
ENQUEUE = Script.read(_LUA, "clock", "common", "enqueue")
EXTEND = Script.read(_LUA, "extend")
FETCH = Script.read(_LUA, "clock", "fetch")
GIVE_BACK = Script.read(_LUA, "give_back")
PURGE = Script.read(_LUA, "purge")
RETRY_DEAD = Script.read(_LUA, "retry_dead")
SETTLE = Script(
    "\n".join(
        path.read_text()
        for path in (
            *(_LUA / "clock.lua", _LUA / "common.lua"),
            *(RESULTS / "results.lua", RESULTS / "parts.lua", _LUA / "settle.lua"),
        )
    )
)
SWEEP = Script.read(_LUA, "sweep")
TOP = Script.read(_LUA, "clock", "top")
