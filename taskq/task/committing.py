"""Calls that wait for a transaction of Django's: what is rolled back is not sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Unpack

from taskq.exceptions import ImproperlyConfigured
from taskq.message import new_id
from taskq.producer import CallOptions

if TYPE_CHECKING:
    from taskq.app import TaskQ

P = ParamSpec("P")


class AfterCommit(Generic[P]):
    """The part of a task that is for Django's transactions.

    The call is checked and encoded at once, and sent when the transaction is committed; without
    a transaction that is now. With the setting ``outbox`` it is written in the transaction.
    """

    app: TaskQ

    def delay_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """`delay`, when the transaction on the default database is committed.

        Returns:
            The task's id.

        Raises:
            TypeError: the arguments do not fit the function.
            EncodeError: an argument cannot be encoded.
            OperationalError: the broker cannot be reached; from whatever commits.
        """
        return self._on_commit(args, kwargs, {}, None)

    async def adelay_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """`delay_on_commit` for code on an event loop, with the connection of its queries."""
        return await self._aon_commit(args, kwargs, {}, None)

    def apply_async_on_commit(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        using: str | None = None,
        **options: Unpack[CallOptions],
    ) -> str:
        """`apply_async`, when a transaction is committed; see `delay_on_commit`.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
            using: the database whose transaction it is; the default one if it is None.
            options: as for `apply_async`.
        """
        return self._on_commit(tuple(args or ()), dict(kwargs or {}), options, using)

    async def aapply_async_on_commit(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        using: str | None = None,
        **options: Unpack[CallOptions],
    ) -> str:
        """`apply_async_on_commit` for code on an event loop."""
        return await self._aon_commit(tuple(args or ()), dict(kwargs or {}), options, using)

    if TYPE_CHECKING:

        def apply(self, *args: Any, **kwargs: Any) -> Any:
            """Of the task."""

        def apply_async(self, *args: Any, **kwargs: Any) -> Any:
            """Of the task."""

        def signature(self, *args: Any, **kwargs: Any) -> Any:
            """Of the task."""

    def _on_commit(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions, using: str | None
    ) -> str:
        try:
            # Django is loaded by those who use it.
            from django.db import transaction
        except ModuleNotFoundError as exc:
            raise ImproperlyConfigured(
                "on_commit means a transaction of Django's, which is not installed: use delay()"
            ) from exc
        app, task_id = self.app, options.get("task_id") or new_id()
        options = {**options, "task_id": task_id}
        if app.conf.task_always_eager:
            transaction.on_commit(lambda: self.apply(args, kwargs, **options) and None, using)
        elif app.commits_with(using):
            self.apply_async(args, kwargs, **options)
        else:
            messages = app.messages_of(self.signature(args, kwargs), options)
            retry, policy = options.get("retry"), options.get("retry_policy")
            transaction.on_commit(lambda: app.producer.publish(messages, retry, policy), using)
        return task_id

    async def _aon_commit(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions, using: str | None
    ) -> str:
        try:
            # As above; it comes with Django.
            from asgiref.sync import sync_to_async
        except ModuleNotFoundError:
            return self._on_commit(args, kwargs, options, using)  # which says what is missing
        return await sync_to_async(self._on_commit)(args, kwargs, options, using)
