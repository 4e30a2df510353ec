"""The options of a call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict, cast

from taskq.canvas.stamping import gathered


class SendOptions(TypedDict, total=False):
    """The options of a call that say nothing of when.

    Attributes:
        task_id: the id to use; a new UUID by default.
        expires: seconds, or a moment, after which it is dropped if it has not started.
        priority: 0 to 9, 9 first.
        delivery_mode: 1 (or ``transient``) keeps it in RabbitMQ's memory, 2 (``persistent``) on
            disk; other brokers do not know the difference.
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
        replaced_task_nesting: how often a task of its id has been replaced before.
        stamped_headers: which headers are stamps.
        stamps: their values.
    """

    task_id: str | None
    expires: float | datetime | str | timedelta | None
    priority: int | None
    delivery_mode: int | str | None
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
    replaced_task_nesting: int
    stamped_headers: Any
    stamps: Mapping[str, Any]


class CallOptions(SendOptions, total=False):
    """The options of a call: `SendOptions`, and when it may run.

    Attributes:
        countdown: seconds from now before it may run.
        eta: the moment before which it must not run; the setting ``timezone`` says
            what one without a zone means.
    """

    countdown: float | None
    eta: datetime | str | None


_OPTIONS = CallOptions.__optional_keys__


def check_options(options: CallOptions, name: str) -> None:
    """Raise TypeError if a call has an option that there is not.

    Args:
        options: the call's options.
        name: the task's name, for the message.
    """
    if not _OPTIONS.issuperset(options):
        raise _unknown_option(options, name)


def known_options(options: Mapping[str, Any]) -> CallOptions:
    """The options of a signature that came from elsewhere, as far as they mean something here."""
    if "stamped_headers" in options:
        options = gathered(options)
    return cast("CallOptions", {k: v for k, v in options.items() if k in _OPTIONS})


def _unknown_option(options: CallOptions, name: str) -> TypeError:
    # difflib is imported here since only mistakes need it.
    from difflib import get_close_matches

    unknown = sorted(options.keys() - _OPTIONS)
    near = get_close_matches(unknown[0], _OPTIONS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(_OPTIONS))}"
    return TypeError(f"a call of {name} has no option {unknown[0]!r}: {hint}")
