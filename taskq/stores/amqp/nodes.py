"""The nodes of a cluster, and in which order they are tried."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

STRATEGIES = ("round-robin", "shuffle")


@dataclass(frozen=True, slots=True)
class Node:
    """One node of RabbitMQ, and how to log in to it."""

    host: str
    port: int
    user: str
    password: str
    vhost: str


class Nodes:
    """The nodes of an address; iterate to try them.

    Whoever connects takes one after the other until one answers.  With ``round-robin`` the
    next who connects begins there: a node that is away costs its time-out once.  With
    ``shuffle`` each time is another order, so that connections are spread over the nodes.

    Args:
        nodes: in the order of the URL.
        strategy: one of `STRATEGIES`.
    """

    def __init__(self, nodes: Sequence[Node], strategy: str = STRATEGIES[0]) -> None:
        self._nodes = tuple(nodes)
        self._shuffles = strategy == "shuffle"
        self._first = 0

    def __iter__(self) -> Iterator[Node]:
        count = len(self._nodes)
        if self._shuffles:
            yield from random.sample(self._nodes, count)
            return
        first = self._first
        for step in range(count):
            yield self._nodes[(first + step) % count]
            self._first = (first + step + 1) % count  # that one did not answer

    def __len__(self) -> int:
        return len(self._nodes)
