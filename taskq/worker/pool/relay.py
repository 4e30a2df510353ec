"""Broker and result store of a child that cannot reach them by itself.

With the `memory` broker everything lives in the worker's parent; what a task sends or
asks there goes through the child's own socket, with an answer, so that errors reach the
task.  All other brokers are reached by connections of the child's own.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from taskq import exceptions
from taskq.backends.base import Backend, ChordPart, ChordRecord, Outcome
from taskq.brokers.base import Broker, Consumer, DeadLetter, QueueDepth
from taskq.brokers.notices import Channel, Notice, Subscription
from taskq.message import TaskMessage
from taskq.routing import Queue
from taskq.worker.pool.packets import Receiver, Wait, send

if TYPE_CHECKING:
    import asyncio

_STEP = 0.1
"""Seconds that one question may wait in the parent; a longer wait asks again."""


class Call(msgspec.Struct, array_like=True):
    """A child's question.  `kind` tells it from the other packets on the socket."""

    kind: str
    number: int
    method: str
    messages: list[TaskMessage] = []
    outcomes: list[Outcome] = []
    task_ids: list[str] = []
    queues: list[Queue] = []
    parts: list[ChordPart] = []
    notices: list[Notice] = []
    chords: list[ChordRecord] = []


class Answer(msgspec.Struct, array_like=True):
    """The parent's answer: outcomes, or the name and text of an error."""

    number: int
    outcomes: list[Outcome] = []
    error: str = ""
    text: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode_call = msgspec.msgpack.Decoder(Call).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode


class Relay:
    """The parent's side: does what children ask.

    Args:
        broker: where messages go; quick, since it lives in this process.
        backend: the result store, likewise.
    """

    def __init__(self, broker: Broker, backend: Backend) -> None:
        self._broker = broker
        self._backend = backend
        self._waiting: set[asyncio.Task[None]] = set()

    def answer(self, sock: socket.socket, packet: bytes) -> None:
        """Do what a packet asks, and answer on the same socket."""
        # Only the parent has an event loop; the children load this module without one.
        import asyncio

        call = _decode_call(packet)
        task = asyncio.get_running_loop().create_task(self._answer(sock, call))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _answer(self, sock: socket.socket, call: Call) -> None:
        try:
            outcomes = await self._do(call)
            answer = Answer(call.number, list(outcomes.values()))
        except Exception as exc:
            answer = Answer(call.number, error=type(exc).__name__, text=str(exc))
        try:
            send(sock, _encode(answer))
        except OSError:
            pass  # the child has died; its job is accounted for elsewhere

    async def _do(self, call: Call) -> dict[str, Outcome]:
        if call.method == "publish":
            self._broker.publish(call.messages)
        elif call.method == "broadcast":
            self._broker.broadcast(call.notices)
        elif call.method == "declare":
            self._broker.declare(call.queues)
        elif call.method == "store":
            self._backend.store(call.outcomes)
        elif call.method == "forget":
            self._backend.forget(call.task_ids)
        elif call.method == "add_parts":
            complete = self._backend.add_parts(call.parts)
            self._broker.publish([part.done for part in complete])
        elif call.method == "chord_parts":
            parts = self._backend.chord_parts(call.task_ids[0])
            return {str(n): Outcome(str(n), "", part) for n, part in parts.items()}
        elif call.method == "forget_parts":
            self._backend.forget_parts(call.task_ids[0])
        elif call.method == "keep_chords":
            self._backend.keep_chords(call.chords)
        elif call.method == "chord_record":
            record = self._backend.chord_record(call.task_ids[0])
            return {} if record is None else {"": Outcome("", "", record)}
        elif call.method == "forget_chord":
            self._backend.forget_chord(call.task_ids[0])
        elif call.method == "extend_chord":
            self._backend.extend_chord(call.task_ids[0], int(call.task_ids[1]))
        elif call.method == "fetch":
            return self._backend.fetch(call.task_ids)
        elif call.method == "wait":
            return await self._backend.await_(call.task_ids, _STEP)
        return {}


class RelayClient:
    """The child's side: asks, and waits for the answer.

    Args:
        answers: the child's own socket.
        wait: how it waits, where blocking is not the way.
    """

    def __init__(self, answers: socket.socket, wait: Wait | None = None) -> None:
        self._socket = answers
        self._wait = wait
        self._receiver = Receiver(answers)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def ask(self, method: str, **content: Any) -> dict[str, Outcome]:
        """Ask the parent.

        Raises:
            TaskQError: whatever the broker or the store has raised there.
        """
        with self._lock:
            call = Call("call", next(self._numbers), method, **content)
            send(self._socket, _encode(call))
            while True:
                answer = _decode_answer(self._receiver.receive(wait=self._wait))
                if answer.number == call.number:
                    break  # others are of calls that a soft limit has interrupted
        if answer.error:
            kind = getattr(exceptions, answer.error, exceptions.OperationalError)
            raise kind(answer.text)
        return {outcome.task_id: outcome for outcome in answer.outcomes}


class RelayBackend(Backend):
    """The parent's result store, seen from a child."""

    def __init__(self, client: RelayClient) -> None:
        super().__init__()
        self._client = client

    def store(self, outcomes: Sequence[Outcome]) -> None:
        self._client.ask("store", outcomes=list(outcomes))

    def fetch(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        return self._client.ask("fetch", task_ids=list(task_ids))

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            found = self._client.ask("wait", task_ids=list(task_ids))
            if found or (deadline is not None and time.monotonic() >= deadline):
                return found

    async def await_(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        # Loaded already: an event loop is running.
        import asyncio

        return await asyncio.to_thread(self.wait, task_ids, timeout)

    def forget(self, task_ids: Sequence[str]) -> None:
        self._client.ask("forget", task_ids=list(task_ids))

    def add_parts(self, parts: Sequence[ChordPart]) -> list[ChordPart]:
        self._client.ask("add_parts", parts=list(parts))
        return []  # the parent has sent what follows those that are complete

    def chord_parts(self, group: str) -> dict[int, bytes]:
        found = self._client.ask("chord_parts", task_ids=[group])
        return {int(place): outcome.payload for place, outcome in found.items()}

    def forget_parts(self, group: str) -> None:
        self._client.ask("forget_parts", task_ids=[group])

    def keep_chords(self, records: Sequence[ChordRecord]) -> None:
        self._client.ask("keep_chords", chords=list(records))

    def chord_record(self, group: str) -> bytes | None:
        found = self._client.ask("chord_record", task_ids=[group])
        return found[""].payload if found else None

    def forget_chord(self, group: str) -> None:
        self._client.ask("forget_chord", task_ids=[group])

    def extend_chord(self, group: str, index: int) -> None:
        self._client.ask("extend_chord", task_ids=[group, str(index)])

    def cleanup(self) -> int:
        return 0  # the parent does it


class RelayBroker(Broker):
    """The parent's broker, seen from a child: tasks can declare and publish, and no more."""

    def __init__(self, client: RelayClient) -> None:
        self._client = client

    def publish(self, messages: Sequence[TaskMessage]) -> None:
        self._client.ask("publish", messages=list(messages))

    def declare(self, queues: Iterable[Queue]) -> None:
        self._client.ask("declare", queues=list(queues))

    def broadcast(self, notices: Sequence[Notice]) -> None:
        self._client.ask("broadcast", notices=list(notices))

    def subscribe(
        self, channel: Channel, keys: Sequence[str] = ("#",), *, name: str = ""
    ) -> Subscription:
        _refuse("wait for workers' answers, or for events,")

    def pause(self, queue: str) -> None:
        _refuse("pause a queue")

    def resume(self, queue: str) -> None:
        _refuse("resume a queue")

    def paused(self) -> list[str]:
        _refuse("ask which queues are paused")

    def queues(self) -> list[str]:
        _refuse("list queues")

    def depth(self, queue: str) -> QueueDepth:
        _refuse("read a queue's depth")

    def purge(self, queue: str) -> int:
        _refuse("purge a queue")

    def browse(self, queue: str, limit: int) -> list[TaskMessage]:
        _refuse("browse a queue")

    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        _refuse("read dead letters")

    def retry_dead(self, ids: Sequence[str]) -> int:
        _refuse("retry dead letters")

    def purge_dead(self, ids: Sequence[str] | None = None) -> int:
        _refuse("purge dead letters")

    def consumer(self, queues: Sequence[Queue], *, lease: float, backend: Backend) -> Consumer:
        _refuse("consume")


def _refuse(what: str) -> NoReturn:
    raise exceptions.OperationalError(
        f"a task cannot {what} on the memory broker, which lives in the worker's parent: do it "
        "in the program that runs the worker, or use sqlite:///taskq.db"
    )
