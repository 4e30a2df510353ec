"""What the result store is to keep of an execution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskq.backends.base import Outcome
from taskq.exceptions import EncodeError
from taskq.request import Request
from taskq.result_tree import as_tuple

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.task import Task


class Recorder:
    """Makes the outcomes of executions.

    Args:
        app: whose settings and codec.
        hostname: the worker's name.
    """

    def __init__(self, app: TaskQ, hostname: str) -> None:
        self._app = app
        self._hostname = hostname

    def ignores(self, task: Task[..., Any], request: Request) -> bool:
        """Is the result not wanted?"""
        ignore = request.headers.get("ignore_result")
        if ignore is None:
            ignore = task.ignore_result
        return bool(self._app.conf.task_ignore_result if ignore is None else ignore)

    def keeps_failure(self, task: Task[..., Any], request: Request) -> bool:
        """Is a failure kept?"""
        keeps_errors = task.store_errors_even_if_ignored
        if keeps_errors is None:
            keeps_errors = self._app.conf.task_store_errors_even_if_ignored
        return bool(keeps_errors) or not self.ignores(task, request)

    def encode(
        self,
        task: Task[..., Any],
        request: Request,
        state: str,
        value: Any,
        traceback: str | None = None,
    ) -> Outcome | None:
        """The outcome to keep; None for a run in the caller's process that keeps none.

        Args:
            task: the task.
            request: its execution.
            state: its state.
            value: the value, the exception, or what it says of its progress.
            traceback: of the exception, as text.

        Raises:
            EncodeError: the value cannot be encoded.
        """
        if request.is_eager and not self._app.conf.task_store_eager_result:
            return None
        codec = self._app.result_codec
        headers = request.headers
        if not codec.extended and not request.children:
            return codec.encode(headers["id"], state, value, traceback, headers)
        children = [as_tuple(child, parents=False) for child in request.children]
        if not codec.extended:
            return codec.encode(headers["id"], state, value, traceback, headers, children=children)
        more = {
            "children": children,
            "name": task.name,
            "args": request.args,
            "kwargs": request.kwargs,
            "worker": self._hostname,
            "retries": request.retries,
            "queue": request.queue,
        }
        try:
            return codec.encode(headers["id"], state, value, traceback, headers, **more)
        except EncodeError:
            # Arguments that the result serializer cannot carry are kept as logs show them.
            more["args"], more["kwargs"] = headers.get("argsrepr"), headers.get("kwargsrepr")
        return codec.encode(headers["id"], state, value, traceback, headers, **more)
