"""The request: what a task can know of its own execution, as ``self.request``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskq.message import TaskMessage


class Request:
    """One execution of a task.

    Everything that came with the message is read from its headers on demand, so that a
    task that never looks pays nothing.

    Attributes:
        message: what was received; None when the function was called directly.
        args: positional arguments.
        kwargs: keyword arguments.
        embed: callbacks, errbacks, chain and chord, as protocol 2 carries them.
        queue: the queue it was taken from.
        hostname: the worker's name.
        deliveries: how often the message has been delivered.
        is_eager: run by `Task.apply`, in the caller's process.
        called_directly: the task was called as a function.
        children: results of the tasks that this one has sent.
        retry_message: the message that `Task.retry` has prepared.
        retry_call: the arguments of that message.
        trail: remember what the task sends, in `children`.
        replacement: what `Task.replace` has prepared: a chain.
        joined: how many members the task has added to its chord.
    """

    __slots__ = (
        "args",
        "called_directly",
        "children",
        "deliveries",
        "embed",
        "headers",
        "hostname",
        "is_eager",
        "joined",
        "kwargs",
        "message",
        "queue",
        "replacement",
        "retry_call",
        "retry_message",
        "trail",
    )

    def __init__(
        self,
        message: TaskMessage | None,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        embed: Mapping[str, Any] | None = None,
        *,
        queue: str = "",
        hostname: str = "",
        deliveries: int = 1,
        is_eager: bool = False,
    ) -> None:
        self.message = message
        self.headers: Mapping[str, Any] = message.headers if message is not None else {}
        self.args = args
        self.kwargs: Mapping[str, Any] = kwargs if kwargs is not None else {}
        self.embed: Mapping[str, Any] = embed if embed is not None else {}
        self.queue = queue
        self.hostname = hostname
        self.deliveries = deliveries
        self.is_eager = is_eager
        self.called_directly = message is None
        self.children: list[Any] = []
        self.retry_message: TaskMessage | None = None
        self.retry_call: tuple[Any, Any] = (self.args, self.kwargs)
        self.trail = True
        self.replacement: Any = None
        self.joined = 0

    def __getattr__(self, name: str) -> Any:
        """A header of the sender's own, by name; only called for what is no attribute."""
        if not name.startswith("_") and name in self.headers:
            return self.headers[name]
        raise AttributeError(f"the request has no attribute, and its message no header, {name!r}")

    def get(self, name: str, default: Any = None) -> Any:
        """One of the attributes, or of the headers, by name."""
        return getattr(self, name, self.headers.get(name, default))

    @property
    def id(self) -> str | None:
        """The task's id; None when called directly."""
        return self.headers.get("id")

    @property
    def task(self) -> str | None:
        """The task's name."""
        return self.headers.get("task")

    @property
    def retries(self) -> int:
        """How often it has been retried before this execution."""
        return self.headers.get("retries") or 0

    @property
    def run_key(self) -> str:
        """Which run of the task it is, as a part of the keys of what follows it.

        A retry has the same id, and so has what took the task's place.
        """
        nesting = self.replaced_task_nesting
        return f"{self.id}:{nesting}.{self.retries}" if nesting else f"{self.id}:{self.retries}"

    @property
    def eta(self) -> str | None:
        """When it was to run, as ISO 8601 text."""
        return self.headers.get("eta")

    @property
    def expires(self) -> str | None:
        """When it was to be dropped unrun, as ISO 8601 text."""
        return self.headers.get("expires")

    @property
    def root_id(self) -> str | None:
        """The first task of the workflow."""
        return self.headers.get("root_id")

    @property
    def parent_id(self) -> str | None:
        """The task that sent this one."""
        return self.headers.get("parent_id")

    @property
    def group(self) -> str | None:
        """The group's id, in a group."""
        return self.headers.get("group")

    @property
    def group_index(self) -> int | None:
        """The place in the group, in a group."""
        return self.headers.get("group_index")

    @property
    def timelimit(self) -> list[float | None]:
        """The limits that came with the call: [hard, soft], in seconds."""
        return self.headers.get("timelimit") or [None, None]

    @property
    def time_limit(self) -> float | None:
        """The hard limit that came with the call, in seconds."""
        return self.timelimit[0]

    @property
    def soft_time_limit(self) -> float | None:
        """The soft limit that came with the call, in seconds."""
        return self.timelimit[1]

    @property
    def replaced_task_nesting(self) -> int:
        """How often a task of its id has been replaced before."""
        return self.headers.get("replaced_task_nesting") or 0

    @property
    def origin(self) -> str | None:
        """The process that sent it."""
        return self.headers.get("origin")

    @property
    def shadow(self) -> str | None:
        """The name to show in logs in place of the task's own."""
        return self.headers.get("shadow")

    @property
    def ignore_result(self) -> bool:
        """The caller asked not to keep the result."""
        return bool(self.headers.get("ignore_result"))

    @property
    def stamps(self) -> Mapping[str, Any]:
        """The stamps that a visitor has put on it."""
        return self.headers.get("stamps") or {}

    @property
    def stamped_headers(self) -> list[str]:
        """Which headers are stamps."""
        return self.headers.get("stamped_headers") or []

    @property
    def callbacks(self) -> list[Any] | None:
        """Signatures to send when it succeeds."""
        return self.embed.get("callbacks")

    @property
    def errbacks(self) -> list[Any] | None:
        """Signatures to send when it fails."""
        return self.embed.get("errbacks")

    @property
    def chain(self) -> Sequence[Any] | None:
        """The steps that follow, the last one first."""
        return self.embed.get("chain")

    @property
    def chord(self) -> Any:
        """The body of the chord that it is a member of."""
        return self.embed.get("chord")

    @property
    def reply_to(self) -> str | None:
        """Where results go, for stores that send them to an address."""
        return self.message.reply_to if self.message is not None else None

    @property
    def correlation_id(self) -> str | None:
        """The task's id, under AMQP's name for it."""
        return self.id

    @property
    def properties(self) -> dict[str, Any]:
        """The message's properties, under AMQP's names."""
        if self.message is None:
            return {}
        return {
            "correlation_id": self.id,
            "reply_to": self.message.reply_to,
            "priority": self.message.priority,
            "delivery_mode": self.message.delivery_mode,
            "content_type": self.message.content_type,
            "content_encoding": self.message.content_encoding,
        }

    @property
    def delivery_info(self) -> dict[str, Any]:
        """Which way the message came."""
        if self.message is None:
            return {}
        return {
            "exchange": self.message.exchange,
            "routing_key": self.message.routing_key,
            "priority": self.message.priority,
            "redelivered": self.deliveries > 1,
            "queue": self.queue,
        }
