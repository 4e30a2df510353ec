"""The bare XADD: what redis-py takes to append one message to a Redis stream, and nothing else.

The yardstick of sending tasks one by one. Every message is the same, of about the size that the
message of a no-op task has with all of its headers, and nothing is encoded. No worker could run
it, so this is a subject for `enqueue` alone.
"""

from __future__ import annotations

from typing import Any

from benchmarks import bare_loop

MESSAGE = bytes(range(250)) * 2
"""500 bytes."""


class Peer(bare_loop.Peer):
    """Producer that has nothing to say."""

    async def enqueue(self, slot: int) -> Any:
        return self._client.execute_command("XADD", self._setup.queue, "*", "m", MESSAGE)
