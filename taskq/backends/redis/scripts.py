"""The scripts that keep results and count the members of chords."""

from __future__ import annotations

from pathlib import Path

from taskq.stores.redis.calls import Script

LUA = Path(__file__).parent / "lua"
STORE = Script.read(LUA, "results", "store")
ADD_PART = Script.read(LUA, "parts", "add_part")
JOIN_CHORD = Script.read(LUA, "parts", "join_chord")
CELERY_PART = Script.read(LUA, "celery_part")
CELERY_CLAIM = Script.read(LUA, "celery_claim")
COUNT_PARTS = Script.read(LUA, "parts", "count_parts")
