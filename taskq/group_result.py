"""The results of a group, which have an id together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from taskq.context import get_current_app
from taskq.result import AsyncResult, from_tuple
from taskq.result_set import ResultSet
from taskq.result_tree import ResultTree

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.backends.base import Backend
    from taskq.result_codec import ResultCodec

R = TypeVar("R", covariant=True)


class GroupResult(ResultTree, ResultSet[R]):
    """The results of a group.

    Args:
        id: the group's id.
        results: its members' results, in order.
        parent: the result of the step before, if the group ends a chain.
        backend: the store that `save` writes to.
        codec: writes what the store keeps.
    """

    def __init__(
        self,
        id: str,
        results: Iterable[AsyncResult[R]] = (),
        parent: Any = None,
        backend: Callable[[], Backend] | None = None,
        codec: Callable[[], ResultCodec] | None = None,
    ) -> None:
        super().__init__(results)
        self.id = id
        self.parent = parent
        self._backend = backend or (lambda: get_current_app().backend)
        self._codec = codec or (lambda: get_current_app().result_codec)

    @property
    def children(self) -> list[AsyncResult[R]]:
        """The members' results."""
        return self.results

    @property
    def backend(self) -> Backend:
        """The store that is asked."""
        return self._backend()

    def save(self, backend: Backend | None = None) -> GroupResult[R]:
        """Keep the ids of the members in the store, for `restore`; returns itself.

        Args:
            backend: another store.
        """
        document = self._codec().encode_group(self.as_tuple())
        (backend or self._backend()).save_group(self.id, document)
        return self

    def delete(self, backend: Backend | None = None) -> None:
        """Delete what `save` has kept; the results stay.

        Args:
            backend: another store.
        """
        (backend or self._backend()).delete_group(self.id)

    def forget(self) -> None:
        """Delete the results, those of the parents, and what `save` has kept."""
        super().forget()
        self.delete()

    @classmethod
    def restore(
        cls, id: str, backend: Backend | None = None, app: TaskQ | None = None
    ) -> GroupResult[Any] | None:
        """The group that `save` has kept under this id; None if there is none.

        Args:
            id: the group's id.
            backend: another store than the app's.
            app: the app; the current one by default.
        """
        owner = app or get_current_app()
        document = (backend or owner.backend).restore_group(id)
        if document is None:
            return None
        plain = owner.result_codec.decode_group(document)
        group: GroupResult[Any] = from_tuple(
            plain, lambda: backend or owner.backend, lambda: owner.result_codec
        )
        return group

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GroupResult) and (other.id, other.results) == (
            self.id,
            self.results,
        )

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id


AsyncResult._group_type = GroupResult


def result_from_tuple(plain: Any, app: TaskQ | None = None) -> Any:
    """The result, or that of a group, whose ids these are.

    Args:
        plain: what `AsyncResult.as_tuple` has returned, also after its way through JSON.
        app: the app; the current one by default.
    """
    owner = app or get_current_app()
    return from_tuple(plain, lambda: owner.backend, lambda: owner.result_codec)
