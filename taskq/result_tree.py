"""The tree of results that a task has led to: what it has sent, what those have sent, and so on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from taskq.exceptions import IncompleteStream
from taskq.graph import DependencyGraph


def iterdeps(result: Any, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
    """Each result of the tree, with the one that it belongs to; the nearest first.

    Args:
        result: where to begin; its own parent in the walk is None.
        intermediate: leave out what has not ended, in place of raising.

    Raises:
        IncompleteStream: one has not ended, and nobody knows what it will send.
    """
    pending: deque[tuple[Any, Any]] = deque([(None, result)])
    while pending:
        parent, node = pending.popleft()
        yield parent, node
        if node.ready():
            pending.extend((node, child) for child in node.children or ())
        elif not intermediate:
            raise IncompleteStream(
                f"{node} has not ended: what it has led to is known when it has. Wait for it, or "
                "pass intermediate=True"
            )


def build_graph(result: Any, intermediate: bool = False) -> DependencyGraph:
    """The tree as a graph, the parents of `result` included."""
    graph = DependencyGraph()
    graph.add_arc(result)
    node = result
    while node.parent is not None:
        graph.add_arc(node.parent)
        graph.add_edge(node.parent, node)
        node = node.parent
    for parent, found in iterdeps(result, intermediate):
        graph.add_arc(found)
        if parent is not None and found not in graph[parent]:
            graph.add_edge(parent, found)
    return graph


def as_tuple(result: Any, parents: bool = True) -> Any:
    """A result as plain data, in Celery's form: ``((id, parent), members or None)``.

    Args:
        result: a single result, or a group's.
        parents: with its parents.
    """
    chain: list[Any] = []
    node = result
    while node is not None and (parents or not chain):
        chain.append(node)
        node = node.parent
    plain: Any = None
    for each in reversed(chain):
        members = getattr(each, "results", None)
        found = [as_tuple(member, parents) for member in members] if members is not None else None
        plain = ((each.id, plain), found)
    return plain


class ResultTree:
    """The part of a result that knows what belongs to it."""

    id: str
    parent: Any

    def as_tuple(self) -> Any:
        """The ids of this result and its parents, as plain data; see `result_from_tuple`."""
        return as_tuple(self)

    def as_list(self) -> list[str]:
        """The ids of this result and its parents."""
        found: list[str] = []
        node: Any = self
        while node is not None:
            found.append(node.id)
            node = node.parent
        return found

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """Each result of the tree below this one, with the one that it belongs to."""
        return iterdeps(self, intermediate)

    def collect(self, intermediate: bool = False, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
        """Each result of the tree below this one, with its value, as they become known.

        Args:
            intermediate: leave out what has not ended, in place of raising.
            kwargs: as for `get`.

        Raises:
            IncompleteStream: one has not ended, and nobody knows what it will send.
        """
        for _, result in self.iterdeps(intermediate):
            yield result, result.get(**kwargs)

    def get_leaf(self) -> Any:
        """The value of the last result in the tree below this one."""
        value = None
        for _, result in self.iterdeps():
            value = result.get()
        return value

    @property
    def graph(self) -> DependencyGraph:
        """What has led to what, as far as that is known: `to_dot` and `to_svg` show it."""
        return self.build_graph(intermediate=True)

    def build_graph(self, intermediate: bool = False) -> DependencyGraph:
        """What has led to what.

        Args:
            intermediate: leave out what has not ended, in place of raising.

        Raises:
            IncompleteStream: one has not ended, and nobody knows what it will send.
        """
        return build_graph(self, intermediate)
