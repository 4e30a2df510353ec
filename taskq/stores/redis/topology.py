"""Which server a command goes to, and what to do when it answers that it is not the one.

Nothing here does any input or output: `Topology.carry` yields what is to be said to which
server, and is sent the answers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Sequence
from typing import Any

import msgspec
import redis.exceptions as redis_errors
from redis.crc import key_slot

from taskq.exceptions import OperationalError, TaskQError
from taskq.stores.redis.address import Address, Node
from taskq.stores.redis.calls import Call, Word
from taskq.stores.redis.errors import code_of, explain

_TRIES = 5
"""How often a call is sent on before that is an error."""


class Talk(msgspec.Struct, frozen=True, gc=False):
    """Commands for one server, to be sent together.

    Attributes:
        node: the server; None where the URL names a socket.
        commands: what to say.
        to_sentinel: it is a sentinel, not a server with data.
    """

    node: Node | None
    commands: Sequence[tuple[Word, ...]]
    to_sentinel: bool = False


class Unreachable(Exception):
    """Stands for the answer of a server to which nothing could be said; holds the error."""


Answers = list[Any]
"""Replies of one server, errors among them; or one exception if it could not be reached."""
Exchange = Generator[list[Talk], list[Answers | Exception], Any]


class Topology:
    """Knows the servers of an address, and learns when they change.

    Args:
        address: what the URL says.

    Attributes:
        fixed: the URL names the one server, so that there is nothing to learn.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self.fixed = not (address.service or address.cluster)
        self._master: Node | None = None
        # First slots of ranges, and who serves each: replaced together, for other threads' sake.
        self._slots: tuple[list[int], list[Node]] = ([], [])
        self._known = self.fixed
        if self.fixed and not address.path:
            self._master = address.nodes[0]

    def forget(self) -> None:
        """Ask again before the next call: what was known is out of date."""
        self._known = self.fixed

    def slot(self, key: str) -> int:
        """What must be the same for keys that one script works on."""
        return key_slot(key.encode()) if self._address.cluster else 0

    def find(self) -> Exchange:
        """Learn who serves what, if that is not known."""
        if self._known:
            return
        if self._address.service:
            yield from self._find_master()
        else:
            yield from self._find_owners()
        self._known = True

    def node_of(self, key: str) -> Node | None:
        """The server of a key, once `find` has been carried out."""
        if not self._address.cluster:
            return self._master
        starts, owners = self._slots
        index = bisect_right(starts, self.slot(key)) - 1
        if index < 0:
            raise OperationalError(f"no node of the cluster at {self._address.shown} serves {key}")
        return owners[index]

    def _find_master(self) -> Exchange:
        service = self._address.service
        problems = []
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        for node in self._address.nodes:
            (answer,) = yield [Talk(node, [question], to_sentinel=True)]
            reply = answer if isinstance(answer, Exception) else answer[0]
            if isinstance(reply, list):
                self._master = (reply[0].decode(), int(reply[1]))
                return
            problems.append(f"{node[0]}:{node[1]}: {reply or 'knows no such master'}")
        raise OperationalError(
            f"no sentinel of {self._address.shown} names the master {service!r} "
            f"({'; '.join(problems)})"
        )

    def _find_owners(self) -> Exchange:
        problems = []
        for node in dict.fromkeys([*self._slots[1], *self._address.nodes]):
            (answer,) = yield [Talk(node, [("CLUSTER", "SLOTS")])]
            reply = answer if isinstance(answer, Exception) else answer[0]
            if isinstance(reply, list):
                if reply:
                    self._learn_owners(node, reply)
                    return
                reply = "serves no slots yet"
            problems.append(f"{node[0]}:{node[1]}: {reply}")
        raise OperationalError(
            f"no node of the cluster at {self._address.shown} tells who serves what "
            f"({'; '.join(problems)})"
        )

    def _learn_owners(self, asked: Node, ranges: list[Any]) -> None:
        rows = sorted((row[0], row[2]) for row in ranges)
        # A node that does not know its own name yet means the one that was asked.
        owners = [(owner[0].decode() if owner[0] else asked[0], int(owner[1])) for _, owner in rows]
        self._slots = ([start for start, _ in rows], owners)

    def carry(self, calls: Sequence[Call]) -> Exchange:
        """Carry calls to their servers; returns their replies, in order.

        Raises:
            TaskQError: a server cannot be reached, or answers one of them with an error.
        """
        replies: list[Any] = [None] * len(calls)
        todo: list[tuple[int, tuple[Word, ...]]] = [(n, c.words) for n, c in enumerate(calls)]
        for attempt in range(_TRIES):
            yield from self.find()
            parts = self._by_node(calls, todo)
            answers = yield [Talk(node, [w for _, w in part]) for node, part in parts.items()]
            todo = []
            for (node, part), answer in zip(parts.items(), answers, strict=True):
                if isinstance(answer, Exception):
                    self.forget()
                    if self.fixed or not isinstance(answer, Unreachable) or attempt == _TRIES - 1:
                        raise self.explain(answer, node)
                    todo += part  # another server may have taken its place
                    continue
                for (index, words), reply in zip(part, answer, strict=True):
                    if not isinstance(reply, Exception):
                        replies[index] = reply
                        continue
                    again = yield from self._again(calls[index], words, reply)
                    if again is None or attempt == _TRIES - 1:
                        raise explain(reply, self.shown(node)) from reply
                    if isinstance(again, tuple):
                        todo.append((index, again))
                    else:
                        replies[index] = again[0]
            if not todo:
                break
        return replies

    def _by_node(
        self, calls: Sequence[Call], todo: list[tuple[int, tuple[Word, ...]]]
    ) -> dict[Node | None, list[tuple[int, tuple[Word, ...]]]]:
        if not self._address.cluster:
            return {self._master: todo}
        parts: dict[Node | None, list[tuple[int, tuple[Word, ...]]]] = {}
        for index, words in todo:
            parts.setdefault(self.node_of(calls[index].key), []).append((index, words))
        return parts

    def _again(self, call: Call, words: tuple[Word, ...], error: Exception) -> Exchange:
        """What to say now: the words, in a list the reply that came in the meantime, or None."""
        if isinstance(error, redis_errors.NoScriptError) or code_of(error) == "NOSCRIPT":
            return call.whole() if call.script is not None else None
        if isinstance(error, redis_errors.MovedError) or (
            not self.fixed and code_of(error) == "READONLY"
        ):
            # Refused, so that nothing has happened: the other server may be asked.
            self.forget()
            return words
        if isinstance(error, redis_errors.AskError):  # of which MovedError is a kind
            # Just this once, there: the slot is on its way (Redis Cluster specification).
            (answer,) = yield [Talk((error.host, error.port), [("ASKING",), words])]
            return None if isinstance(answer, Exception) else [answer[1]]
        return None

    def explain(self, answer: Exception, node: Node | None) -> TaskQError:
        """The error to raise when a server could not be talked to."""
        cause = answer.args[0] if isinstance(answer, Unreachable) else answer
        error = explain(cause, self.shown(node))
        error.__cause__ = cause
        return error

    def shown(self, node: Node | None) -> str:
        """A server as errors name it."""
        if node is None:
            return self._address.path
        return f"{node[0]}:{node[1]}/{self._address.db}"
