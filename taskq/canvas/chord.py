"""Chords: a group whose results are given to one more task, the body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from taskq import states
from taskq.canvas.chain import chain
from taskq.canvas.group import group, group_id_of
from taskq.canvas.signature import Signature, as_list
from taskq.exceptions import ChordError

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
        app: the app that sends it; the first member's or the body's by default.
    """

    subtask_type = "chord"

    def __init__(self, header: Any, body: Any = None, *, app: TaskQ | None = None) -> None:
        if isinstance(header, Mapping) and header.get("subtask_type") == "chord":
            super().__init__(header, app=app)
            return
        members = header if isinstance(header, group) else group(header, app=app)
        app = app or members._app or getattr(body, "_app", None)
        super().__init__("taskq.chord_of", kwargs={"header": members, "body": body}, app=app)

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
        if body_id := whole.pop("task_id", None):
            body.set(task_id=body_id)
        body = body.frozen()
        args = (*args, *self["args"])
        given = {**self["kwargs"], **(kwargs or {})}
        del given["header"], given["body"]
        return self.header.calls(args, given, whole, dict(body)), body

    def plan(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[list[Signature], Any]:
        """The calls of all members, and the body's result; without members the body's call."""
        calls, body = self.calls(args, kwargs, options)
        if not calls:  # nobody is waited for
            return body.plan(([],))
        plans = [call.plan() for call in calls]
        members = self.app.GroupResult(group_id_of(calls), [result for _, result in plans])
        return [call for plan, _ in plans for call in plan], body.result(members)

    def frozen(self) -> Signature:
        """A copy whose body has an id, and so has the chord."""
        body = self.body
        if body is None:
            raise ValueError("a chord needs a body before it can have an id")
        if self.id:
            body = body.clone(task_id=self.id)
        body = body.frozen()
        last = body.tasks[-1] if isinstance(body, chain) else body
        copy = self.clone(task_id=last.id)
        copy["kwargs"]["body"] = body
        return copy

    def result(self, parent: Any = None) -> Any:
        """The body's result."""
        assert self.body is not None
        return self.body.result(parent)

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
        result: AsyncResult[Any] = body.result(self.app.GroupResult(group_id_of(calls), members))
        return result

    def runs_here(self) -> bool:
        """Is it to be run in this process: ``task_always_eager``?"""
        return bool(self.app.conf.task_always_eager)

    def apply(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> EagerResult[Any]:
        """Run it here and now."""
        throw = options.pop("throw", None)
        calls, body = self.calls(args, kwargs, options)
        members = [call.apply(throw=throw) for call in calls]
        for member in members:
            if member.state in states.PROPAGATE_STATES:
                error = ChordError(f"Dependency {member.id} raised {member.result!r}")
                return self.app.fail_eagerly(body, error, throw)
        values = [None if member.state == states.IGNORED else member.get() for member in members]
        return body.apply((values,), throw=throw)

    def __repr__(self) -> str:
        return f"chord({self.tasks!r}, {self.body!r})"
