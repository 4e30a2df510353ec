"""Chords: a group whose results are given to one more task, the body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from taskq.canvas.chain import chain
from taskq.canvas.group import group, group_id_of
from taskq.canvas.signature import Signature, as_list
from taskq.message import new_id

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.result import AsyncResult, EagerResult

CHORD_TASK = "taskq.chord"
"""The name of the task that sends a chord's body when all members have ended."""


class chord(Signature):  # noqa: N801 - the field's name for it
    """Tasks that run at the same time, and one that gets the list of their results.

    Each member is counted in its own settlement, once however often it runs.  If one
    fails, the body does not run: whoever waits for it gets `ChordError`, and its errbacks
    are sent.

    Args:
        header: the members: signatures, or a group.
        body: the task that gets the results; without it, call the chord with one.
        app: the app that sends it; the first member's by default.
    """

    subtask_type = "chord"

    def __init__(self, header: Any, body: Any = None, *, app: TaskQ | None = None) -> None:
        if isinstance(header, Mapping) and header.get("subtask_type") == "chord":
            super().__init__(header, app=app)
            return
        members = header if isinstance(header, group) else group(header, app=app)
        super().__init__(
            "taskq.chord_of", kwargs={"header": members, "body": body}, app=app or members._app
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
        body = self["kwargs"]["body"]
        return body if body is None or isinstance(body, Signature) else Signature.from_dict(body)

    def followed_by(self, steps: list[Any]) -> chord:
        """The same chord, with these steps after its body."""
        body = self.body
        if body is None:
            raise ValueError("a chord needs a body before something can follow it")
        # The id of a chord is its body's, which is not the last step any more.
        options = dict(self["options"])
        if "task_id" in options:
            body = body.clone(task_id=options.pop("task_id"))
        copy = self.clone()
        copy["kwargs"], copy["options"] = {**copy["kwargs"], "body": chain(body, *steps)}, options
        return copy

    def __or__(self, other: Signature) -> Signature:  # type: ignore[override]
        return chain(self, other, app=self._app)

    def __call__(self, body: Any = None, **options: Any) -> AsyncResult[Any]:
        """Send it, with this body if one is given."""
        copy = self.clone()
        if body is not None:
            copy["kwargs"]["body"] = body
        return copy.apply_async(**options)

    def calls(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[list[Signature], Signature]:
        """The members as they are sent, and the body with the id that its result will have.

        Raises:
            ValueError: there is no body.
        """
        body = self.body
        if body is None:
            raise ValueError("a chord needs a body: chord(header)(body), or chord(header, body)")
        body = body.clone()
        whole = {**self["options"], **(options or {})}
        for name in ("link", "link_error"):
            for signature in as_list(whole.pop(name, None)):
                body._append(name, signature)
        last = body.tasks[-1] if isinstance(body, chain) else body
        body_id = whole.pop("task_id", None) or body.id or last.id or new_id()
        body["options"] = {**body["options"], "task_id": body_id}
        return self.header.calls(args, kwargs, whole, dict(body)), body

    def apply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """Send the members in one round trip; the result is the body's."""
        if self.runs_here():
            return self.apply(args, kwargs, **options)
        calls, body = self.calls(args, kwargs, options)
        if not calls:  # nobody is waited for
            return body.apply_async(([],))
        return self._result(body, calls, self.app.send_many(calls))

    async def aapply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """`apply_async` for code on an event loop."""
        if self.runs_here():
            return await self._apply_in_thread(args, kwargs, options)
        calls, body = self.calls(args, kwargs, options)
        if not calls:
            return await body.aapply_async(([],))
        return self._result(body, calls, await self.app.asend_many(calls))

    def _result(
        self, body: Signature, calls: list[Signature], members: list[AsyncResult[Any]]
    ) -> AsyncResult[Any]:
        last = body.tasks[-1] if isinstance(body, chain) else body
        parent = self.app.GroupResult(group_id_of(calls), members)
        return self.app.AsyncResult(body["options"]["task_id"], last.task, parent)

    def runs_here(self) -> bool:
        """Is it to be run in this process: ``task_always_eager``?"""
        return bool(self.app.conf.task_always_eager)

    def apply(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> EagerResult[Any]:
        """Run it here and now."""
        throw = options.pop("throw", None)
        _, body = self.calls(args, kwargs, options)
        members = [task.apply(args, kwargs, throw=throw) for task in self.tasks]
        return body.apply(([member.get() for member in members],), throw=throw)

    def __repr__(self) -> str:
        return f"chord({self.tasks!r}, {self.body!r})"
