"""Chords: a group whose results are given to what follows it, the body."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from taskq.canvas.chain import chain
from taskq.canvas.group import group
from taskq.canvas.signature import Signature, maybe_signature
from taskq.message import new_id

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.result import AsyncResult, EagerResult

CHORD_TASK = "taskq.chord"
"""The name of the task that sends a chord's body when all members have ended."""


SHARED_CHORDS_QUEUE = "taskq.chords"
"""Where that task is sent beside Celery, whose workers do not know it."""


class chord(Signature):  # noqa: N801 - the field's name for it
    """Tasks that run at the same time, and one that gets the list of their results.

    Each member is counted in its own settlement, once however often it runs.  If one
    fails, the body does not run: whoever waits for it gets `ChordError`, and its errbacks
    are sent.

    Args:
        header: the members: signatures, or a group.
        body: the task that gets the results; without it, call the chord with one.
        app: the app that sends it; the first member's or the body's by default.
        options: options of the call: those that say when are the members', ids and
            callbacks the body's, and all others hold for both.
    """

    subtask_type = "chord"

    def __init__(
        self, header: Any, body: Any = None, *, app: TaskQ | None = None, **options: Any
    ) -> None:
        if isinstance(header, Mapping) and header.get("subtask_type") == "chord":
            super().__init__(header, app=app)
            self["options"].update(options)
            return
        if isinstance(header, chain):
            header = [header]
        members = header if isinstance(header, group) else group(header, app=app)
        app = app or members._app or getattr(body, "_app", None)
        super().__init__(
            "taskq.chord_of", kwargs={"header": members, "body": body}, options=options, app=app
        )

    @property
    def header(self) -> group:
        """The members, as a group."""
        header = self["kwargs"]["header"]
        return header if isinstance(header, group) else group(header, app=self._app)

    @property
    def tasks(self) -> list[Signature]:
        """The members."""
        return self.header.tasks

    @property
    def body(self) -> Signature | None:
        """The task that gets the results."""
        return maybe_signature(self["kwargs"]["body"], self._app)

    @body.setter
    def body(self, value: Signature | None) -> None:
        self["kwargs"]["body"] = value

    def _body(self) -> Signature:
        body = self.body
        if body is None:
            raise ValueError("a chord needs a body: chord(header)(body), or chord(header, body)")
        return body

    def __or__(self, other: Signature) -> Signature:  # type: ignore[override]
        """What follows a chord follows its body."""
        if not isinstance(other, Signature):
            return NotImplemented
        if self.body is None or other.subtask_type is not None or self["options"]:
            return chain(self, other, app=self._app)
        copy = self.clone()
        copy.body = self._body() | other
        return copy

    def __call__(self, body: Any = None, **options: Any) -> AsyncResult[Any]:
        """Send it, with this body if one is given."""
        copy = self.clone()
        if body is not None:
            copy["kwargs"]["body"] = body
        return copy.apply_async(**options)

    def link(self, callback: Signature) -> Any:
        """Send `callback` with the body's result; returns the callback."""
        self.body = self._body().clone()
        return self._body().link(callback)

    def link_error(self, errback: Signature) -> Signature:
        """Send `errback` when a member or the body fails; returns the errback.

        It is the body's, which fails with its members.  With the setting
        ``task_allow_error_cb_on_chord_header`` it is also sent for each member that fails.
        """
        if self.app.conf.task_allow_error_cb_on_chord_header:
            header = self["kwargs"]["header"] = self.header.clone()
            header.link_error(errback)
        self.body = self._body().clone()
        self._body().link_error(errback)
        return errback

    def set_immutable(self, immutable: bool) -> Self:
        """Let the members ignore, or take, the arguments of a previous step."""
        self["kwargs"]["header"] = self.header.clone().set_immutable(immutable)
        return self

    def frozen(self, make_id: Callable[[], str] = new_id) -> Signature:
        """A copy whose members and body have ids, and so has the chord: its body's."""
        body = self._body()
        if self.id:
            body = body.clone(task_id=self.id)
        body = body.frozen(make_id)
        last = body.tasks[-1] if isinstance(body, chain) else body
        copy = self.clone(task_id=last.id)
        copy["kwargs"]["header"] = self.header.frozen(make_id)
        copy["kwargs"]["body"] = body
        return copy

    def result(self, parent: Any = None) -> Any:
        """The body's result."""
        return self._body().result(self.header.result(parent))

    def apply_async(
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send the members in one round trip; the result is the body's.

        Raises:
            ValueError: there is no body.
            ImproperlyConfigured: the result store cannot count members.
        """
        if self.runs_here():
            return self.apply(args, kwargs, **options)
        result: AsyncResult[Any] = self.app.send_canvas(self, args, kwargs, options)
        return result

    async def aapply_async(
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """`apply_async` for code on an event loop."""
        if self.runs_here():
            return await self._apply_in_thread(args, kwargs, options)
        result: AsyncResult[Any] = await self.app.asend_canvas(self, args, kwargs, options)
        return result

    def runs_here(self) -> bool:
        """Is it to be run in this process: ``task_always_eager``?"""
        return bool(self.app.conf.task_always_eager)

    def apply(
        self,
        args: Iterable[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> EagerResult[Any]:
        """Run it here and now."""
        # Imported here since it knows all kinds of signatures.
        from taskq.canvas.eager import run_here

        result: EagerResult[Any] = run_here(self, args, kwargs, options)
        return result

    def __repr__(self) -> str:
        return f"chord({self.tasks!r}, {self.body!r})"
