"""The ticks of an entry: which are due, which came too late, and the messages they become."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from taskq.beat.arguments import evaluated
from taskq.message import TICK
from taskq.schedules import BaseSchedule, ScheduleEntry, schedule

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.message import TaskMessage
    from taskq.producer import CallOptions

AT_ONCE = 1000
"""Ticks of one entry that are sent in one step at most; the others follow in the next."""
_COUNTED = 10_000
"""Missed ticks that are looked at one by one."""
PUNCTUAL = 10.0
"""Seconds that a tick may be late with the policy ``skip``, if the entry says nothing else."""


class Due(NamedTuple):
    """What is to be done for an entry now.

    Attributes:
        ticks: those that are sent.
        missed: how many are not.
        last: the last of either.
        next_due: what comes after it.
    """

    ticks: list[float]
    missed: int
    last: float
    next_due: float | None


def ticks_due(
    rule: BaseSchedule,
    due: float,
    now: float,
    zone: tzinfo,
    missed: str,
    max_lateness: float | None,
) -> Due:
    """Which ticks are to be sent.

    Args:
        rule: the entry's.
        due: its first tick that was not sent yet; not after `now`.
        now: the time.
        zone: of rules without one.
        missed: the policy: once, all or skip.
        max_lateness: seconds after which a tick is not sent any more.

    Raises:
        ValueError: the rule does not go forward.
    """
    if missed == "skip" and max_lateness is None:
        max_lateness = PUNCTUAL
    if missed == "all":
        return _all_due(rule, due, now, zone, max_lateness)
    last, skipped = _last_until(rule, due, now, zone)
    if max_lateness is not None and now - last > max_lateness:
        return Due([], skipped + 1, last, next_time(rule, last, zone))
    return Due([last], skipped, last, next_time(rule, last, zone))


def _all_due(
    rule: BaseSchedule, due: float, now: float, zone: tzinfo, max_lateness: float | None
) -> Due:
    skipped, last = 0, due
    following: float | None = due
    if max_lateness is not None and due < (limit := now - max_lateness):
        last, skipped = _last_until(rule, due, math.nextafter(limit, due), zone)
        skipped += 1
        following = next_time(rule, last, zone)
    ticks: list[float] = []
    while following is not None and following <= now and len(ticks) < AT_ONCE:
        ticks.append(following)
        last, following = following, next_time(rule, following, zone)
    return Due(ticks, skipped, last, following)


def _last_until(rule: BaseSchedule, due: float, limit: float, zone: tzinfo) -> tuple[float, int]:
    """The last tick that is not after a limit, and how many lie before it, from `due` on."""
    if isinstance(rule, schedule) and not rule.relative:
        count = int((limit - due) / rule.seconds)
        return due + count * rule.seconds, count
    for count in range(_COUNTED):
        following = next_time(rule, due, zone)
        if following is None or following > limit:
            return due, count
        due = following
    # Very many: they are not counted any more, and the last one is looked for from the end.
    back = 60.0
    while limit - back > due:
        near = next_time(rule, limit - back, zone)
        if near is not None and near <= limit:
            last, more = _last_until(rule, near, limit, zone)
            return last, _COUNTED + more
        back *= 2
    last, more = _last_until(rule, due, limit, zone)
    return last, _COUNTED + more


def next_time(rule: BaseSchedule, after: float, zone: tzinfo) -> float | None:
    """The next moment of a rule, as a Unix time.

    Raises:
        ValueError: it does not come after the other one.
    """
    moment = rule.next(datetime.fromtimestamp(after, zone))
    if moment is None:
        return None
    following = moment.timestamp()
    if following <= after:
        raise ValueError(f"{rule!r} names {moment.isoformat()} as what comes after it")
    return following


def first_time(rule: BaseSchedule, now: float, zone: tzinfo) -> float | None:
    """When a new entry runs first, as a Unix time."""
    moment = rule.first(datetime.fromtimestamp(now, zone))
    return moment.timestamp() if moment is not None else None


def tick_key(namespace: str, name: str, due: float) -> str:
    """What a tick is known by everywhere: the entry, and the moment it was due."""
    return f"{TICK}{namespace}:{name}:{round(due * 1e6)}"


def tick_id(key: str, due: float) -> str:
    """The task id of a tick: a UUID of version 8 (RFC 9562), the same wherever it is made.

    It begins with the time, as all ids do, so that results of one time are neighbours.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=10).digest()
    number = max(0, round(due * 1000)) << 80 | int.from_bytes(digest)
    text = f"{number & _NOT_FIXED & _ALL_BITS | _FIXED:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_ALL_BITS = (1 << 128) - 1
_NOT_FIXED = ~(0xF << 76 | 0x3 << 62)
_FIXED = 0x8 << 76 | 0x2 << 62


def messages_of(
    app: TaskQ, entry: ScheduleEntry, key: str, due: float, once: bool
) -> list[TaskMessage]:
    """The messages of one tick.

    Args:
        app: the app.
        entry: the entry.
        key: of the tick.
        due: when it was due, a Unix time in seconds.
        once: let the broker recognise the same messages, should they come again.

    Raises:
        Exception: whatever building a message raises: arguments that cannot be encoded or do
            not fit the task, an option that does not exist.
    """
    args, kwargs = evaluated(entry.args, entry.kwargs)
    options = cast("CallOptions", _options(entry.options, entry.name, due))
    if entry.signature is not None:
        messages = app.messages_of(entry.signature, options)
    else:
        call: CallOptions = {"task_id": tick_id(key, due), **options}
        messages = app.messages_of(app.signature(entry.task, args, kwargs), call)
    for number, message in enumerate(messages if once else ()):
        message.once = f"{key}:{number}" if number else key
    return messages


def _options(options: Mapping[str, Any], name: str, due: float) -> dict[str, Any]:
    headers = {
        "periodic_task_name": name,
        "periodic_task_due": datetime.fromtimestamp(due, UTC).isoformat(),
        **(options.get("headers") or {}),
    }
    return {**options, "headers": headers}
