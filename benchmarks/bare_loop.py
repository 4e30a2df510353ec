"""The bare loop: what this machine can do if a worker does nothing but the way of a task.

A yardstick, not a model of code. It has a parent on asyncio and uvloop that fetches from a Redis
stream, two children that read one shared socket, and one script call for every settled batch.
It has no features and no error handling: no leases, no retries, no limits, no recovery, nothing
is checked. A task queue that does all of that on the same way can be compared with it.

It is a subject like the others (`bare-loop`); run as a program this module is its worker.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import redis
import redis.asyncio
import uvloop

from benchmarks.adapters.base import BulkAdapter, Setup
from benchmarks.marks import Marks

GROUP = "bare"
CHILDREN = 2
IN_FLIGHT = 1000
"""Messages that the parent holds at most."""
FETCH = 200
"""Messages of one fetch."""
PACKET = 16
"""Tasks in one packet for a child; all of them are known to be short."""
ANSWER = 64
"""Outcomes that a child holds back at most."""
MAX_PACKET_BYTES = 1 << 20

SETTLE = """
-- KEYS[1]: the stream.  ARGV[1]: its group.
-- ARGV[2..]: for every task its entry, then the key, the value and the channel of its result
-- (all three empty if no result is kept).
local entries = {}
for at = 2, #ARGV, 4 do
  entries[#entries + 1] = ARGV[at]
  if ARGV[at + 1] ~= '' then
    redis.call('SET', ARGV[at + 1], ARGV[at + 2], 'EX', 3600)
    redis.call('PUBLISH', ARGV[at + 3], ARGV[at + 2])
  end
end
redis.call('XACK', KEYS[1], ARGV[1], unpack(entries))
redis.call('XDEL', KEYS[1], unpack(entries))
"""

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder().decode


def result_key(task_id: str) -> str:
    """Returns where the result of a task lies."""
    return f"bare-result-{task_id}"


class Peer(BulkAdapter):
    """Producer with one pub/sub connection for all its results."""

    def __init__(self) -> None:
        self._setup = Setup.from_environ()
        self._client = redis.Redis.from_url(self._setup.broker, socket_timeout=None)
        self._channel = f"bare-replies-{os.urandom(8).hex()}"
        self._replies = self._client.pubsub(ignore_subscribe_messages=True)
        self._replies.subscribe(self._channel)

    async def enqueue(self, slot: int) -> Any:
        task_id, command = self._command("mark", (slot,))
        self._client.execute_command(*command)
        return task_id

    async def enqueue_hold(self, slot: int, seconds: float) -> Any:
        task_id, command = self._command("hold", (slot, seconds))
        self._client.execute_command(*command)
        return task_id

    async def bulk(self, slots: Sequence[int]) -> None:
        pipe = self._client.pipeline(transaction=False)
        for slot in slots:
            pipe.execute_command(*self._command("mark", (slot,))[1])
        pipe.execute()

    async def wait(self, handle: Any, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            message = self._replies.get_message(timeout=left)
            if message is not None:
                result = msgspec.json.decode(message["data"])
                if result["task_id"] == handle:
                    return result["result"]
        raise TimeoutError(f"no result of task {handle} within {timeout} s")

    async def ready(self, handle: Any) -> bool:
        return bool(self._client.exists(result_key(handle)))

    def _command(self, task: str, args: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
        """Returns the task's id and the command that sends it: headers and body as bytes."""
        task_id = os.urandom(16).hex()
        headers = {
            "lang": "py",
            "task": task,
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "eta": None,
            "expires": None,
            "timelimit": (None, None),
            "origin": "bare",
            "reply_to": self._channel if self._setup.keep_results else "",
        }
        embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        body = encode((args, {}, embed))
        return task_id, ("XADD", self._setup.queue, "*", "h", encode(headers), "b", body)


def run_child(work: socket.socket, answers: socket.socket, marks: Marks) -> None:
    """Runs tasks from `work` and answers on `answers`, at once when no more work is there."""

    def hold(slot: int, seconds: float) -> int:
        time.sleep(seconds)
        return marks.put(slot)

    tasks: dict[str, Callable[..., object]] = {"mark": marks.put, "hold": hold}
    outcomes: list[tuple[int, bytes]] = []

    def answer() -> None:
        if outcomes:
            answers.send(encode(outcomes))
            outcomes.clear()

    while True:
        try:
            packet = work.recv(MAX_PACKET_BYTES, socket.MSG_DONTWAIT if outcomes else 0)
        except BlockingIOError:
            answer()
            continue
        if not packet:
            return
        for ticket, raw_headers, raw_body in decode(packet):
            headers, (args, kwargs, _) = decode(raw_headers), decode(raw_body)
            if headers["task"] == "hold" or len(outcomes) >= ANSWER:
                answer()
            value = tasks[headers["task"]](*args, **kwargs)
            outcome = {
                "status": "SUCCESS",
                "result": value,
                "traceback": None,
                "children": [],
                "date_done": "2026-01-01T00:00:00+00:00",
                "task_id": headers["id"],
            }
            outcomes.append((ticket, msgspec.json.encode(outcome)))


class Parent:
    """Fetches, hands out, gathers and settles; never runs a task.

    Args:
        url: The Redis server.
        stream: The queue's key.
        work: Socket on which all children read.
        answers: The children's own sockets.
    """

    def __init__(
        self, url: str, stream: str, work: socket.socket, answers: Iterable[socket.socket]
    ) -> None:
        self._stream = stream
        self._work = work
        self._answers = list(answers)
        # One for the blocking fetch, one for settling beside it.
        self._fetcher = redis.asyncio.Redis.from_url(url, protocol=2, socket_timeout=None)
        self._settler = redis.asyncio.Redis.from_url(url, protocol=2, socket_timeout=None)
        self._loop = asyncio.get_running_loop()
        self._held: dict[int, tuple[bytes, str, str]] = {}
        self._backlog: list[tuple[int, bytes, bytes]] = []
        self._outcomes: list[tuple[int, bytes]] = []
        self._arrived, self._room = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Works until the process is killed."""
        try:
            await self._fetcher.xgroup_create(self._stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError:
            pass  # The group is there.
        for answers in self._answers:
            self._loop.add_reader(answers.fileno(), self._gather, answers)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fetch())
            group.create_task(self._settle())

    async def _fetch(self) -> None:
        ticket = 0
        while True:
            while len(self._held) >= IN_FLIGHT:
                self._room.clear()
                await self._room.wait()
            room = min(FETCH, IN_FLIGHT - len(self._held))
            ((_, entries),) = await self._fetcher.xreadgroup(
                GROUP, "parent", {self._stream: ">"}, count=room, block=0
            )
            for entry, fields in entries:
                headers = decode(fields[b"h"])
                self._held[ticket] = entry, headers["id"], headers["reply_to"]
                self._backlog.append((ticket, fields[b"h"], fields[b"b"]))
                ticket += 1
            self._hand_out()

    def _hand_out(self) -> None:
        """Sends the backlog as far as the socket takes it, the rest when it has room again."""
        sent = 0
        try:
            while sent < len(self._backlog):
                self._work.send(encode(self._backlog[sent : sent + PACKET]))
                sent += PACKET
            self._loop.remove_writer(self._work.fileno())
        except BlockingIOError:
            self._loop.add_writer(self._work.fileno(), self._hand_out)
        del self._backlog[:sent]

    def _gather(self, answers: socket.socket) -> None:
        self._outcomes.extend(decode(answers.recv(MAX_PACKET_BYTES)))
        self._arrived.set()

    async def _settle(self) -> None:
        digest = await self._settler.script_load(SETTLE)
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._outcomes = self._outcomes, []
            words: list[bytes | str] = []
            for ticket, result in batch:
                entry, task_id, reply_to = self._held.pop(ticket)
                kept = (result_key(task_id), result, reply_to) if reply_to else ("", "", "")
                words += (entry, *kept)
            await self._settler.evalsha(digest, 1, self._stream, GROUP, *words)
            self._room.set()


def main() -> None:
    """Runs the worker for the trial that the environment describes."""
    setup = Setup.from_environ()
    marks = Marks(setup.marks)
    work, childs_work = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    answers: list[socket.socket] = []
    for _ in range(CHILDREN):
        ours, childs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            work.close()
            run_child(childs_work, childs, marks)
            os._exit(0)
        ours.setblocking(False)
        childs.close()
        answers.append(ours)
    work.setblocking(False)

    async def serve() -> None:
        await Parent(setup.broker, setup.queue, work, answers).run()

    # Only now: the children must not inherit an event loop.
    uvloop.run(serve())


if __name__ == "__main__":
    main()
