"""The rows of an app's schedule in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from taskq.beat.stores.base import Claim, Held, Record, ScheduleStore, new_version, version_text
from taskq.brokers.redis.enqueue import ONCE_WINDOW, Envelopes, Routed, route
from taskq.brokers.redis.scripts import LUA as BROKER_LUA
from taskq.message import TaskMessage, pack
from taskq.stores.redis import RedisStore, Steps
from taskq.stores.redis.calls import Call, Script, Word, command
from taskq.stores.redis.keys import Layout

_LUA = Path(__file__).parent / "lua"


def _script(*names: str) -> Script:
    found = (BROKER_LUA / f"{name}.lua" for name in names)
    own = (_LUA / f"{name}.lua" for name in names)
    paths = [mine if mine.exists() else broker for mine, broker in zip(own, found, strict=True)]
    return Script("\n".join(path.read_text() for path in paths))


PUT = _script("state", "put")
EDIT = _script("state", "edit")
REMOVE = _script("state", "remove")
CLAIM = _script("clock", "common", "state", "claim")
TAKE = _script("clock", "take")

_ONCE_MS = int(ONCE_WINDOW * 1000)
_PART = 500
_NEVER = -1.0


class _State(msgspec.Struct, array_like=True):
    """A row without its definition, as the scripts have it; see ``state.lua``."""

    revision: str
    enabled: bool
    due: float = _NEVER
    last_due: float = _NEVER
    last_run: float = _NEVER
    runs: int = 0
    missed: int = 0
    failures: int = 0
    lateness: float = 0.0
    error: str = ""


_encode = msgspec.msgpack.Encoder().encode
_states = msgspec.msgpack.Decoder(_State)
_definitions = msgspec.msgpack.Decoder(tuple[bytes, str])


class RedisScheduleStore(ScheduleStore):
    """The rows of one app in Redis, for any number of beats on any number of machines.

    The server's clock says what is due.

    Args:
        store: the server.
        namespace: the app's name: apps may share a server.
        sends: the server is the broker, and messages go into its queues at once.
        lease: seconds for which a message of the outbox is held.
    """

    def __init__(self, store: RedisStore, namespace: str, sends: bool, lease: float) -> None:
        self.store = store
        self.sends = sends
        self._lease = lease
        self._layout = Layout(store.address)
        keys = self._layout.schedule(namespace)
        self._definitions, self._states = keys.definitions, keys.states
        self._edits, self._outbox = keys.edits, keys.outbox

    def poll(self) -> tuple[float, str]:
        (seconds, micros), edits = self.store.calls(
            command(self._edits, "TIME"), command(self._edits, "GET", self._edits)
        )
        return int(seconds) + int(micros) / 1e6, version_text(int(edits or 0))

    def load(self) -> list[Record]:
        definitions, states = self.store.calls(
            command(self._definitions, "HGETALL", self._definitions),
            command(self._states, "HGETALL", self._states),
        )
        by_name = dict(zip(states[::2], states[1::2], strict=True))
        return [
            _record(name, definition, by_name[name])
            for name, definition in zip(definitions[::2], definitions[1::2], strict=True)
            if name in by_name
        ]

    def read(self, names: Sequence[str]) -> list[Record]:
        if not names:
            return []
        definitions, states = self.store.calls(
            command(self._definitions, "HMGET", self._definitions, *names),
            command(self._states, "HMGET", self._states, *names),
        )
        return [
            _record(name.encode(), definition, state)
            for name, definition, state in zip(names, definitions, states, strict=True)
            if definition is not None and state is not None
        ]

    def put(self, records: Sequence[Record]) -> None:
        keys = [self._definitions, self._states, self._edits]
        for start in range(0, len(records), _PART):
            words: list[Word] = []
            for record in records[start : start + _PART]:
                words += (
                    *(record.name, _encode((record.definition, record.source))),
                    *(record.revision, _encode(_state(record))),
                )
            self.store.calls(PUT.call(keys, new_version(), *words))

    def remove(self, names: Sequence[str]) -> int:
        if not names:
            return 0
        keys = [self._definitions, self._states, self._edits]
        (removed,) = self.store.calls(REMOVE.call(keys, new_version(), *names))
        return int(removed)

    def enable(self, name: str, due: float | None) -> bool:
        return self._edit(name, "enable", _time(due))

    def disable(self, name: str) -> bool:
        return self._edit(name, "disable")

    def reset(self, name: str, due: float | None, next_due: float | None) -> bool:
        return self._edit(name, "reset", _time(next_due), _time(due))

    def _edit(self, name: str, *words: Word) -> bool:
        (found,) = self.store.calls(
            EDIT.call([self._states, self._edits], new_version(), name, *words)
        )
        return bool(found)

    def claim(self, claims: Sequence[Claim]) -> set[str]:
        won: list[bytes] = self.store.run(self._claiming(claims))
        return {name.decode() for name in won}

    def _claiming(self, claims: Sequence[Claim]) -> Steps[Any]:
        envelopes = Envelopes()
        words: list[Word] = []
        queues: set[str] = set()
        for claim in claims:
            routed: list[Routed] = []
            if self.sends:
                routed = yield from route(self._layout, claim.messages)
                queues.update(keys.name for _, keys, passing in routed if not passing)
            words += _claim_words(claim, len(routed) if self.sends else len(claim.messages))
            if self.sends:
                for message, keys, passing in routed:
                    words += envelopes.words(message, keys, passing)
            else:
                words += _outbox_words(claim.messages)
        calls: list[Call] = [
            CLAIM.call(
                [
                    *(self._states, self._outbox),
                    *(*envelopes.streams, *envelopes.sets, *envelopes.others),
                ],
                *(_ONCE_MS, len(envelopes.streams), len(envelopes.sets)),
                *(*envelopes.channels, *words),
            )
        ]
        registry = self._layout.queues
        calls += [command(registry, "HSETNX", registry, name, "") for name in sorted(queues)]
        replies = yield calls
        return replies[0]

    def take(self, limit: int) -> list[Held]:
        milliseconds = int(self._lease * 1000)
        (found,) = self.store.calls(TAKE.call([self._outbox], milliseconds, limit))
        return [Held(packed, packed) for packed in found]

    def sent(self, held: Sequence[Held]) -> None:
        if held:
            packed = [one.packed for one in held]
            self.store.calls(command(self._outbox, "ZREM", self._outbox, *packed))

    def close(self) -> None:
        self.store.close()


def _record(name: bytes, definition: bytes, state: bytes) -> Record:
    row, (text, source) = _states.decode(state), _definitions.decode(definition)
    due, last_due, last_run = (
        None if time == _NEVER else time for time in (row.due, row.last_due, row.last_run)
    )
    return Record(
        *(name.decode(), text, source, row.revision, row.enabled, due, last_due, last_run),
        *(row.runs, row.missed, row.failures, row.lateness, row.error),
    )


def _state(record: Record) -> _State:
    due, last_due, last_run = (
        _NEVER if time is None else time for time in (record.due, record.last_due, record.last_run)
    )
    return _State(
        revision=record.revision,
        enabled=record.enabled,
        due=due,
        last_due=last_due,
        last_run=last_run,
        runs=record.runs,
        missed=record.missed,
        failures=record.failures,
        lateness=record.lateness,
        error=record.error,
    )


def _time(time: float | None) -> str:
    """A time with all its digits: it is compared with what was written before."""
    return repr(_NEVER if time is None else time)


def _claim_words(claim: Claim, messages: int) -> Sequence[Word]:
    return (
        *(claim.name, claim.revision, _time(claim.due), _time(claim.last), _time(claim.next_due)),
        *(claim.runs, claim.missed, claim.failures, repr(claim.now), repr(claim.lateness)),
        *(claim.error, messages),
    )


def _outbox_words(messages: Sequence[TaskMessage]) -> list[Word]:
    words: list[Word] = []
    for message in messages:
        words += (0, pack(message), "")
    return words
