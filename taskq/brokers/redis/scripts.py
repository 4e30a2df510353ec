"""The scripts of the broker; each file says what its keys and arguments are."""

from pathlib import Path

from taskq.backends.redis.scripts import LUA as RESULTS
from taskq.stores.redis.calls import Script

LUA = Path(__file__).parent / "lua"

DECLARE = Script.read(LUA, "clock", "declare")
ENQUEUE = Script.read(LUA, "clock", "common", "enqueue")
EXTEND = Script.read(LUA, "extend")
FETCH = Script.read(LUA, "clock", "fetch")
GIVE_BACK = Script.read(LUA, "give_back")
PURGE = Script.read(LUA, "purge")
RETRY_DEAD = Script.read(LUA, "retry_dead")
SETTLE = Script(
    "\n".join(
        path.read_text()
        for path in (
            *(LUA / "clock.lua", LUA / "common.lua"),
            *(RESULTS / "results.lua", RESULTS / "parts.lua", LUA / "settle.lua"),
        )
    )
)
SWEEP = Script.read(LUA, "sweep")
TOP = Script.read(LUA, "clock", "top")
