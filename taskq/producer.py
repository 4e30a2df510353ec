"""From a call to a published message."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, TypedDict, cast

from taskq import signals
from taskq.canvas.signature import as_list
from taskq.context import running
from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.message import MAX_PRIORITY, TaskMessage, new_id, origin, to_isoformat, to_timestamp
from taskq.serialization import compress

if TYPE_CHECKING:
    from taskq.brokers.base import Broker
    from taskq.request import Request
    from taskq.routing import Router
    from taskq.serialization import SerializerRegistry
    from taskq.settings import Settings
    from taskq.task import Task

_REPR_LENGTH = 1024
_POLICY = {"max_retries": 3, "interval_start": 0.0, "interval_step": 0.2, "interval_max": 1.0}
"""What a retry policy says that leaves something out."""


class SendOptions(TypedDict, total=False):
    """The options of a call that say nothing of when.

    Attributes:
        task_id: the id to use; a new UUID by default.
        expires: seconds, or a moment, after which it is dropped if it has not started.
        priority: 0 to 9, 9 first.
        queue: the queue, by name.
        exchange: the exchange, by name; with `routing_key` in place of a queue.
        routing_key: what the exchange's bindings are matched against.
        serializer: json, msgpack, yaml, pickle or a registered one.
        compression: zlib, bzip2, lzma, brotli or zstd.
        headers: headers of one's own.
        link: signatures to send when it succeeds.
        link_error: signatures to send when it fails.
        ignore_result: keep no result.
        time_limit: seconds until its process is killed.
        soft_time_limit: seconds until `SoftTimeLimitExceeded` is raised in it.
        shadow: the name that logs show.
        retry: publish again if the broker cannot be reached; True by default.
        retry_policy: how often and how fast; see ``task_publish_retry_policy``.
        add_to_parent: remember it as a child of the task that sends it.
        root_id: first task of the workflow.
        parent_id: the task that sends it.
        group_id: the group that it is in.
        group_index: its place in that group.
        chord: the chord's body.
        chain: what follows, the last step first.
        reply_to: the address for its result.
        retries: how often it has been retried.
        once: a key under which brokers accept it a single time.
    """

    task_id: str | None
    expires: float | datetime | str | timedelta | None
    priority: int | None
    queue: Any
    exchange: Any
    routing_key: str | None
    serializer: str | None
    compression: str | None
    headers: Mapping[str, Any] | None
    link: Any
    link_error: Any
    ignore_result: bool | None
    time_limit: float | None
    soft_time_limit: float | None
    shadow: str | None
    retry: bool | None
    retry_policy: Mapping[str, float] | None
    add_to_parent: bool
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    group_index: int | None
    chord: Any
    chain: Any
    reply_to: str | None
    retries: int
    once: str | None


class CallOptions(SendOptions, total=False):
    """The options of a call: `SendOptions`, and when it may run.

    Attributes:
        countdown: seconds from now before it may run.
        eta: the moment before which it must not run; the setting ``timezone`` says
            what one without a zone means.
    """

    countdown: float | None
    eta: datetime | str | None


def time_zone(conf: Settings) -> tzinfo | None:
    """The time zone of moments that name none; None is the machine's own.

    Raises:
        ImproperlyConfigured: the setting ``timezone`` is no zone that is known here.
    """
    name = conf.timezone
    if name is None:
        return UTC if conf.enable_utc else None
    if isinstance(name, tzinfo):
        return name
    # Most apps are content with UTC.
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:
        raise ImproperlyConfigured(
            f"timezone={name!r} is not known: give an IANA name such as 'Europe/Paris' "
            "(pip install tzdata, if this machine has none)"
        ) from exc


class Producer:
    """Builds messages by the app's settings, and publishes them.

    Args:
        conf: the app's settings.
        serializers: the app's serializers.
        router: decides where a call goes.
        broker: gives the broker; asked only when something is published.
    """

    def __init__(
        self,
        conf: Settings,
        serializers: SerializerRegistry,
        router: Router,
        broker: Callable[[], Broker],
    ) -> None:
        self._conf = conf
        self._serializers = serializers
        self._router = router
        self._broker = broker
        self._origin = (0, "")
        self._declared: set[str] = {""}
        self._zone = time_zone(conf)

    def build(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: CallOptions,
        task: Task[..., Any] | None = None,
    ) -> TaskMessage:
        """The message of one call.

        Args:
            name: the task's name.
            args: positional arguments.
            kwargs: keyword arguments.
            options: the call's own.
            task: the task, if this process knows it; its attributes are the defaults.

        Raises:
            EncodeError: an argument cannot be encoded.
            ImproperlyConfigured: an option has a value that makes no sense.
        """
        if not _OPTIONS.issuperset(options):
            raise _unknown_option(options, name)
        conf = self._conf
        now = time.time()
        destination = self._router.route(
            {**(task.routing_options() if task is not None else {}), **_without_none(options)},
            name,
            args,
            kwargs,
            task,
        )
        if destination.options:
            options = cast("CallOptions", {**options, **destination.options})
        due = self._due(options, now)
        request = running.get()
        parent = request if request is not None and not request.called_directly else None
        headers = self._headers(name, args, kwargs, options, task, parent, now)
        headers["eta"] = to_isoformat(due) if due is not None else None
        encoded = self._serializers.encode(
            (args, kwargs, _embed(options)),
            options.get("serializer") or (task and task.serializer) or conf.task_serializer,
        )
        body = encoded.body
        compression = (
            options.get("compression") or (task and task.compression) or conf.task_compression
        )
        if compression:
            body, headers["compression"] = compress(body, compression)
        priority = destination.priority
        if priority is None:
            priority = conf.task_default_priority
        if priority is None and conf.task_inherit_parent_priority and parent and parent.message:
            priority = parent.message.priority
        return TaskMessage(
            headers,
            body,
            encoded.content_type,
            encoded.content_encoding,
            _text("exchange", destination.exchange) or "",
            _text("routing_key", destination.routing_key) or "",
            _checked_priority(priority, name),
            _text("reply_to", options.get("reply_to")),
            due,
            _text("once", options.get("once")),
        )

    def _headers(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: CallOptions,
        task: Task[..., Any] | None,
        parent: Request | None,
        now: float,
    ) -> dict[str, Any]:
        """Protocol 2's headers, but for the eta, with the caller's own among them."""
        task_id = _text("task_id", options.get("task_id")) or new_id()
        expires = self._expiry(options, task, now)
        soft = _seconds("soft_time_limit", options.get("soft_time_limit"))
        hard = _seconds("time_limit", options.get("time_limit"))
        return {
            **_named(options.get("headers")),
            "lang": "py",
            "task": name,
            "id": task_id,
            "shadow": options.get("shadow"),
            "eta": None,
            "expires": to_isoformat(expires) if expires is not None else None,
            "group": options.get("group_id"),
            "group_index": options.get("group_index"),
            "retries": options.get("retries") or 0,
            "timelimit": [hard, soft],
            "root_id": options.get("root_id") or (parent.root_id if parent else None) or task_id,
            "parent_id": options.get("parent_id") or (parent.id if parent else None),
            "argsrepr": _short_repr(args),
            "kwargsrepr": _short_repr(kwargs),
            "origin": self._sender(),
            "ignore_result": self._ignores(options, task),
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        }

    def _ignores(self, options: CallOptions, task: Task[..., Any] | None) -> bool | None:
        """Whether the result is wanted; None leaves it to the worker, who knows the task."""
        ignore = options.get("ignore_result")
        if ignore is None and task is not None:
            ignore = task.ignore_result
        if ignore is None and (task is not None or self._conf.task_ignore_result):
            ignore = self._conf.task_ignore_result
        return ignore

    def _due(self, options: CallOptions, now: float) -> float | None:
        countdown = options.get("countdown")
        if countdown is not None:
            _seconds("countdown", countdown)
            return now + countdown
        eta = options.get("eta")
        return self._moment("eta", eta) if eta is not None else None

    def _expiry(
        self, options: CallOptions, task: Task[..., Any] | None, now: float
    ) -> float | None:
        expires = options.get("expires")
        if expires is None and task is not None:
            expires = task.expires
        if expires is None:
            return None
        if isinstance(expires, timedelta):
            return now + expires.total_seconds()
        if isinstance(expires, int | float):
            return now + expires
        return self._moment("expires", expires)

    def _moment(self, option: str, value: datetime | str) -> float:
        try:
            return to_timestamp(value, self._zone)
        except (AttributeError, TypeError, ValueError) as exc:
            raise ImproperlyConfigured(
                f"{option}={value!r} is no moment: give a datetime, or ISO 8601 text such as "
                f"{datetime(2030, 1, 31, 12, tzinfo=UTC).isoformat()!r}"
            ) from exc

    def _sender(self) -> str:
        pid, text = self._origin
        if pid != os.getpid():
            text = origin()
            self._origin = (os.getpid(), text)
        return text

    def publish(
        self,
        messages: Sequence[TaskMessage],
        retry: bool | None = None,
        policy: Mapping[str, float] | None = None,
    ) -> None:
        """Publish in one round trip, again if the broker is away, within the policy's time.

        Raises:
            OperationalError: the broker could not be reached, or refused them.
        """
        _announce(signals.before_task_publish, messages)
        pauses = self._pauses(retry, policy)
        while True:
            try:
                broker = self._broker()
                self._declare(broker, messages)
                broker.publish(messages)
                break
            except OperationalError as exc:
                pause = next(pauses, None)
                if pause is None:
                    raise _give_up(exc, messages) from exc
                time.sleep(pause)
        _announce(signals.after_task_publish, messages)

    async def apublish(
        self,
        messages: Sequence[TaskMessage],
        retry: bool | None = None,
        policy: Mapping[str, float] | None = None,
    ) -> None:
        """`publish` for code on an event loop."""
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        _announce(signals.before_task_publish, messages)
        pauses = self._pauses(retry, policy)
        while True:
            try:
                broker = self._broker()
                if any(message.exchange not in self._declared for message in messages):
                    await asyncio.to_thread(self._declare, broker, messages)
                await broker.apublish(messages)
                break
            except OperationalError as exc:
                pause = next(pauses, None)
                if pause is None:
                    raise _give_up(exc, messages) from exc
                await asyncio.sleep(pause)
        _announce(signals.after_task_publish, messages)

    def _declare(self, broker: Broker, messages: Sequence[TaskMessage]) -> None:
        """Make the queues of an exchange known before it is first published to."""
        for message in messages:
            name = message.exchange
            if name not in self._declared:
                broker.declare(self._router.bound_to(name))
                self._declared.add(name)

    def _pauses(self, retry: bool | None, policy: Mapping[str, float] | None) -> Any:
        """Seconds to wait before each further attempt."""
        if not (self._conf.task_publish_retry if retry is None else retry):
            return iter(())
        rules = {**_POLICY, **self._conf.task_publish_retry_policy, **(policy or {})}
        return (
            min(rules["interval_start"] + rules["interval_step"] * n, rules["interval_max"])
            for n in range(int(rules["max_retries"] or 0))
        )


_OPTIONS = CallOptions.__optional_keys__


def known_options(options: Mapping[str, Any]) -> CallOptions:
    """The options of a signature that came from elsewhere, as far as they mean something here."""
    return cast("CallOptions", {k: v for k, v in options.items() if k in _OPTIONS})


def _unknown_option(options: CallOptions, name: str) -> TypeError:
    # difflib is imported here since only mistakes need it.
    from difflib import get_close_matches

    unknown = sorted(options.keys() - _OPTIONS)
    near = get_close_matches(unknown[0], _OPTIONS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(_OPTIONS))}"
    return TypeError(f"a call of {name} has no option {unknown[0]!r}: {hint}")


def _embed(options: CallOptions) -> dict[str, Any]:
    """The third part of protocol 2's body: what follows the task."""
    return {
        "callbacks": as_list(options.get("link")) or None,
        "errbacks": as_list(options.get("link_error")) or None,
        "chain": options.get("chain"),
        "chord": options.get("chord"),
    }


def _text(option: str, value: Any) -> str | None:
    """A text, or None."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{option}={value!r} must be text")
    return value


def _named(headers: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Headers of the caller's own, by names that can travel."""
    if headers and not all(isinstance(name, str) for name in headers):
        raise TypeError(f"headers={dict(headers)!r}: their names must be text")
    return headers or {}


def _seconds(option: str, value: Any) -> Any:
    """A number of seconds, or None."""
    if value is not None and not isinstance(value, int | float):
        raise TypeError(f"{option}={value!r} must be a number of seconds")
    return value


def _without_none(options: CallOptions) -> dict[str, Any]:
    """What a call says; None says nothing."""
    return {key: value for key, value in options.items() if value is not None}


def _checked_priority(priority: int | None, name: str) -> int:
    if priority is None:
        return 0
    if type(priority) is not int or not 0 <= priority <= MAX_PRIORITY:
        raise ImproperlyConfigured(
            f"priority={priority!r} for task {name!r}: priorities are 0 to {MAX_PRIORITY}, "
            f"and {MAX_PRIORITY} is served first"
        )
    return priority


def _short_repr(value: Sequence[Any] | Mapping[str, Any]) -> str:
    """What logs show of the arguments; large ones are cut before they are formatted."""
    items = value.values() if type(value) is dict else value
    if len(value) <= 16 and _SMALL.issuperset(map(type, items)):
        return repr(value)
    # reprlib is imported here since many calls have few and small arguments.
    import reprlib

    shorten = reprlib.Repr()
    shorten.maxlevel, shorten.maxstring, shorten.maxother = 3, 128, 128
    return shorten.repr(value)[:_REPR_LENGTH]


_SMALL = frozenset({int, float, bool, type(None)})


def _announce(signal: signals.Signal, messages: Sequence[TaskMessage]) -> None:
    if not signal.receivers:
        return
    for message in messages:
        signal.send(
            message.task,
            body=message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            headers=message.headers,
            properties={"priority": message.priority, "reply_to": message.reply_to},
            declare=[],
            retry_policy=None,
        )


def _give_up(error: OperationalError, messages: Sequence[TaskMessage]) -> OperationalError:
    names = sorted({message.task for message in messages})
    return OperationalError(
        f"cannot send {len(messages)} message(s) of {', '.join(names)}: {error}"
    )
