"""The options of a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from taskq.task.task import Task


class TaskOptions(TypedDict, total=False):
    """Options of a task: keywords of the decorator, and attributes of the class.

    They are explained at the attributes of `Task`; ``base`` is the class that it is made of, and
    a task that is ``shared`` is taken in by every app that is made later, too.
    """

    name: str
    base: type[Task[..., Any]]
    shared: bool
    typing: bool
    max_retries: int | None
    default_retry_delay: float
    ignore_result: bool
    store_errors_even_if_ignored: bool
    serializer: str
    compression: str
    time_limit: float
    soft_time_limit: float
    rate_limit: str | float
    track_started: bool
    acks_late: bool
    acks_on_failure: bool
    acks_on_timeout: bool
    reject_on_worker_lost: bool
    retry_on_worker_lost: bool
    throws: tuple[type[BaseException], ...]
    expires: float
    priority: int
    delivery_mode: int | str
    queue: str
    exchange: str
    routing_key: str
    resultrepr_maxsize: int
    send_events: bool
    trail: bool
    autoretry_for: tuple[type[BaseException], ...]
    dont_autoretry_for: tuple[type[BaseException], ...]
    retry_kwargs: Mapping[str, Any]
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool
    pydantic: bool
    pydantic_strict: bool
    pydantic_context: Mapping[str, Any] | None
    pydantic_dump_kwargs: Mapping[str, Any] | None


class TaskAttributes:
    """The options of a task, as attributes of its class.

    Where an option is None, the setting of the same name (``task_…``) decides.

    Attributes:
        name: what messages call it by.
        typing: check the arguments against the signature when it is called.
        max_retries: how often `retry` may send it again; None for ever.
        default_retry_delay: seconds before a retry that names no other time.
        ignore_result: keep no result.
        store_errors_even_if_ignored: keep failures all the same.
        serializer: how its arguments are encoded.
        compression: how its body is compressed.
        time_limit: seconds until its process is killed.
        soft_time_limit: seconds until `SoftTimeLimitExceeded` is raised in it.
        rate_limit: how many of it a worker may start, such as ``10/s``, ``100/m`` or ``5/h``; a
            number is of one second.
        track_started: store the state STARTED when it starts.
        acks_late: acknowledge after it ended and its outcome is stored; otherwise just
            before it starts, and then a crash loses it.
        acks_on_failure: a failure is acknowledged; otherwise it is a dead letter.
        acks_on_timeout: a hard time limit is acknowledged; otherwise it runs again.
        reject_on_worker_lost: run again when its process died; otherwise it failed.
        retry_on_worker_lost: when its process died, send it again as `retry` does, with the delay
            and the number of retries of that; comes before `reject_on_worker_lost`.
        throws: exceptions that are no surprise, logged without a traceback.
        expires: seconds after which it is dropped if it has not started.
        priority: 0 to 9, 9 first.
        delivery_mode: 1 keeps its messages in RabbitMQ's memory, 2 on disk.
        queue: the queue, by name.
        exchange: the exchange, by name.
        routing_key: what the exchange's bindings are matched against.
        trail: its result tells what it has sent: its children.
        resultrepr_maxsize: how much of the result a log line shows, in characters.
        send_events: workers that tell events tell of this task.
        autoretry_for: exceptions that make it retry by itself.
        dont_autoretry_for: exceptions among those that do not.
        retry_kwargs: arguments of those retries, such as ``max_retries``.
        retry_backoff: double the delay at each retry, from this number of seconds.
        retry_backoff_max: the longest of those delays, in seconds.
        retry_jitter: choose each delay at random between 0 and its value.
        pydantic: arguments and results that are annotated as pydantic models travel as
            plain data, and are validated where the task runs.
        pydantic_strict: validate strictly.
        pydantic_context: what validators find in their context.
        pydantic_dump_kwargs: arguments of ``model_dump``, in place of ``{"mode": "json"}``.
    """

    name: str = ""
    typing: bool = True
    max_retries: int | None = 3
    default_retry_delay: float = 180
    ignore_result: bool | None = None
    store_errors_even_if_ignored: bool | None = None
    serializer: str | None = None
    compression: str | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    rate_limit: str | float | None = None
    track_started: bool | None = None
    acks_late: bool | None = None
    acks_on_failure: bool | None = None
    acks_on_timeout: bool | None = None
    reject_on_worker_lost: bool | None = None
    retry_on_worker_lost: bool | None = None
    throws: tuple[type[BaseException], ...] = ()
    expires: float | None = None
    priority: int | None = None
    delivery_mode: int | str | None = None
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    trail: bool = True
    resultrepr_maxsize: int = 1024
    send_events: bool = True
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    retry_kwargs: Mapping[str, Any] = {}
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600
    retry_jitter: bool = True
    pydantic: bool = False
    pydantic_strict: bool = False
    pydantic_context: Mapping[str, Any] | None = None
    pydantic_dump_kwargs: Mapping[str, Any] | None = None

    def routing_options(self) -> dict[str, Any]:
        """What the task's own attributes say about its route."""
        values = (
            ("queue", self.queue),
            ("exchange", self.exchange),
            ("routing_key", self.routing_key),
            ("priority", self.priority),
        )
        return {key: value for key, value in values if value is not None}
