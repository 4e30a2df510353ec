"""Asking workers what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskq.control.control import Control

Answers = dict[str, Any] | None
"""What workers have answered, by their names; None if nobody has."""


class Inspect:
    """Questions to workers; ``app.control.inspect()`` makes one.

    Each method returns a dictionary from the worker's name to its answer, or None if nobody
    has answered in time.  With a single name as `destination` it is that worker's answer.

    Args:
        control: whose workers.
        destination: the names of those that are asked; all by default.
        timeout: seconds to wait.
        callback: called with each answer as it comes.
        connection: accepted for Celery's sake.
        app: likewise.
        limit: answers after which there is no need to wait any longer.
        pattern: a pattern of names, in place of a `destination`.
        matcher: how the pattern is read, see `Control.broadcast`.
    """

    def __init__(
        self,
        control: Control,
        destination: str | Sequence[str] | None = None,
        timeout: float | None = 1.0,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        connection: Any = None,
        app: Any = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        self._control = control
        self.destination = destination
        self.timeout = timeout
        self.callback = callback
        self.limit = limit
        self.pattern = pattern
        self.matcher = matcher

    def ask(self, command: str, **arguments: Any) -> Any:
        """Give a command of whatever name, and gather the answers."""
        replies = self._control.broadcast(
            command,
            arguments,
            self.destination,
            reply=True,
            timeout=self.timeout,
            limit=self.limit,
            callback=self.callback,
            pattern=self.pattern,
            matcher=self.matcher,
        )
        if not replies:
            return None
        answers = {name: answer for reply in replies for name, answer in reply.items()}
        if isinstance(self.destination, str) and self.pattern is None:
            return answers.get(self.destination)
        return answers

    def active(self, safe: bool | None = None) -> Any:
        """Tasks that run now; `safe` is accepted for Celery's sake."""
        return self.ask("active")

    def active_queues(self) -> Any:
        """The queues that are consumed."""
        return self.ask("active_queues")

    def clock(self) -> Any:
        """The workers' logical clocks."""
        return self.ask("clock")

    def conf(self, with_defaults: bool = False) -> Any:
        """The settings that differ from the defaults, or all; secrets are masked."""
        return self.ask("conf", with_defaults=with_defaults)

    def hello(self, from_node: str, revoked: Any = None) -> Any:
        """What a worker of Celery asks its neighbours when it starts."""
        return self.ask("hello", from_node=from_node, revoked=revoked)

    def memdump(self, samples: int = 10) -> Any:
        """Memory of the workers and their processes, in KiB."""
        return self.ask("memdump", samples=samples)

    def ping(self, destination: str | Sequence[str] | None = None) -> Any:
        """Whether they are there: ``{"ok": "pong"}``."""
        if destination is not None:
            self.destination = destination
        return self.ask("ping")

    def query_task(self, *ids: str | Iterable[str]) -> Any:
        """What workers know of tasks: ``{id: [state, information]}``."""
        flat = [i for item in ids for i in ([item] if isinstance(item, str) else item)]
        return self.ask("query_task", ids=flat)

    def registered(self, *taskinfoitems: str) -> Any:
        """The tasks that they know, with these of their attributes."""
        return self.ask("registered", taskinfoitems=taskinfoitems)

    registered_tasks = registered

    def report(self) -> Any:
        """Software, platform and settings."""
        return self.ask("report")

    def reserved(self, safe: bool | None = None) -> Any:
        """Tasks that they hold and have not started; `safe` is accepted for Celery's sake."""
        return self.ask("reserved")

    def revoked(self) -> Any:
        """The ids of revoked tasks."""
        return self.ask("revoked")

    def scheduled(self, safe: bool | None = None) -> Any:
        """Tasks of their queues that are not due yet; `safe` is accepted for Celery's sake."""
        return self.ask("scheduled")

    def stats(self) -> Any:
        """Counters, pool, broker and resources."""
        return self.ask("stats")
