"""From a call to a message."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, cast

from taskq.canvas.call_data import as_list
from taskq.canvas.stamping import gathered
from taskq.context import running
from taskq.encoded_steps import EncodedSteps
from taskq.exceptions import ImproperlyConfigured
from taskq.message import MAX_PRIORITY, TaskMessage, new_id, origin, to_isoformat, to_timestamp
from taskq.producer.options import CallOptions, check_options
from taskq.serialization import compress

if TYPE_CHECKING:
    from taskq.backends.base import Backend
    from taskq.request import Request
    from taskq.routing import Queue, Router
    from taskq.serialization import SerializerRegistry
    from taskq.serialization.registry import Encoded
    from taskq.settings import Settings
    from taskq.task import Task

_REPR_LENGTH = 1024


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


class MessageBuilder:
    """Builds messages by the app's settings.

    Args:
        conf: the app's settings.
        serializers: the app's serializers.
        router: decides where a call goes.
        replies: gives the result store, if that sends results to addresses.
    """

    def __init__(
        self,
        conf: Settings,
        serializers: SerializerRegistry,
        router: Router,
        replies: Callable[[], Backend] | None = None,
    ) -> None:
        self._replies = replies
        self._conf = conf
        self._serializers = serializers
        self._router = router
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
        if "stamped_headers" in options:
            options = cast("CallOptions", gathered(options))
        check_options(options, name)
        conf = self._conf
        now = time.time()
        given = {**(task.routing_options() if task is not None else {}), **_without_none(options)}
        destination = self._router.route(given, name, args, kwargs, task)
        if destination.options:
            options = cast("CallOptions", {**options, **destination.options})
        due = self._due(options, now)
        parent = _parent()
        headers = self._headers(name, args, kwargs, options, task, parent, now)
        headers["eta"] = to_isoformat(due) if due is not None else None
        if (place := _chord_place(options)) is not None:
            headers["chord_place"] = place
        serializer = options.get("serializer") or (task and task.serializer) or conf.task_serializer
        encoded = self._encode(args, kwargs, options, serializer)
        compression = (
            options.get("compression") or (task and task.compression) or conf.task_compression
        )
        body = encoded.body
        if compression:
            body, headers["compression"] = compress(body, compression)
        return TaskMessage(
            headers,
            body,
            encoded.content_type,
            encoded.content_encoding,
            _text("exchange", destination.exchange) or "",
            _text("routing_key", destination.routing_key) or "",
            _checked_priority(self._priority(destination.priority, parent), name),
            self._reply_to(options, headers["ignore_result"]),
            due,
            _text("once", options.get("once")),
            _delivery_mode(options, task, destination.queue),
        )

    def _priority(self, given: int | None, parent: Request | None) -> int | None:
        conf = self._conf
        if given is None:
            given = conf.task_default_priority
        if given is None and conf.task_inherit_parent_priority and parent and parent.message:
            given = parent.message.priority
        return given

    def _encode(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: CallOptions,
        serializer: str,
    ) -> Encoded:
        embed = _embed(options)
        steps = embed["chain"]
        if isinstance(steps, EncodedSteps):
            if serializer == "json" and self._serializers.is_built_in("json"):
                embed["chain"] = None
                encoded = self._serializers.encode((args, kwargs, embed), serializer)
                if (body := steps.into(encoded.body)) is not None:
                    return encoded._replace(body=body)
            embed["chain"] = list(steps)
        return self._serializers.encode((args, kwargs, embed), serializer)

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
        soft = _limit("soft_time_limit", options.get("soft_time_limit"))
        hard = _limit("time_limit", options.get("time_limit"))
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
            "origin": origin(),
            "ignore_result": self._ignores(options, task),
            "replaced_task_nesting": options.get("replaced_task_nesting") or 0,
            "stamped_headers": options.get("stamped_headers"),
            "stamps": options.get("stamps") or {},
        }

    def _reply_to(self, options: CallOptions, ignored: bool | None) -> str | None:
        """Where the result is to be sent, by a store that sends results."""
        if "reply_to" in options:
            return _text("reply_to", options["reply_to"])
        return None if self._replies is None or ignored else self._replies().reply_to

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


def _parent() -> Request | None:
    """The task that is running, and sends this."""
    request = running.get()
    return request if request is not None and not request.called_directly else None


def _embed(options: CallOptions) -> dict[str, Any]:
    """The third part of protocol 2's body: what follows the task."""
    return {
        "callbacks": as_list(options.get("link")) or None,
        "errbacks": as_list(options.get("link_error")) or None,
        "chain": options.get("chain"),
        "chord": options.get("chord"),
    }


def _chord_place(options: Mapping[str, Any]) -> list[Any] | None:
    """Which member of which chord it is: the header's id, its place there, and the header's size.

    Of a chain the last step is the member, and all its steps know of it.  It stands in the
    headers, so that a message whose body cannot be read is counted as well.
    """
    if not options.get("chord"):
        chain = options.get("chain")
        if not chain:
            return None
        # A document from elsewhere may hold what it likes.
        last = chain[0].get("options") if isinstance(chain[0], Mapping) else None
        options = last if isinstance(last, Mapping) else {}
    chord = options.get("chord")
    size = chord.get("chord_size") if isinstance(chord, Mapping) else None
    group, index = options.get("group_id"), options.get("group_index")
    if group is None or type(index) is not int or type(size) is not int:
        return None
    return [group, index, size]


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


def _limit(option: str, value: Any) -> Any:
    """A number of seconds that may pass, or None; workers bury what has a negative one."""
    if _seconds(option, value) is not None and not value >= 0:
        raise ValueError(f"{option}={value!r} must be a number of seconds of at least 0")
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


def _delivery_mode(
    options: CallOptions, task: Task[..., Any] | None, queue: Queue | None
) -> int | None:
    """What the call says, or the task, or the exchange; None leaves it to the broker."""
    mode = options.get("delivery_mode")
    if mode is None and task is not None:
        mode = task.delivery_mode
    if mode is None and queue is not None:
        mode = queue.exchange.delivery_mode
    if mode is None:
        return None
    known = _MODES.get(mode)
    if known is None:
        raise ImproperlyConfigured(
            f"delivery_mode={mode!r}: it must be 1 ('transient') or 2 ('persistent')"
        )
    return known


_MODES: dict[int | str, int] = {1: 1, 2: 2, "transient": 1, "persistent": 2}


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
