"""The states of a task, and their order.

A task may set states of its own with ``update_state``; these count as
unfinished and rank between ``STARTED`` and ``PENDING``.
"""

#: The message is in its queue; recorded only where that is asked for.
QUEUED = "QUEUED"
#: Nothing is recorded: the task waits, or there is no such task.
PENDING = "PENDING"
#: A worker holds the message.
RECEIVED = "RECEIVED"
#: A worker runs the task; recorded with ``task_track_started``.
STARTED = "STARTED"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
#: The task failed and will be run again.
RETRY = "RETRY"
#: The task was refused; seen in events, not in results.
REJECTED = "REJECTED"
#: The task asked that nothing be recorded.
IGNORED = "IGNORED"

#: From the most to the least advanced. ``None`` stands for states of one's own.
PRECEDENCE: tuple[str | None, ...] = (
    SUCCESS,
    FAILURE,
    None,
    REVOKED,
    STARTED,
    RECEIVED,
    REJECTED,
    RETRY,
    QUEUED,
    PENDING,
)

#: Finished: the outcome does not change any more.
READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
UNREADY_STATES = frozenset({QUEUED, PENDING, RECEIVED, STARTED, REJECTED, RETRY})
#: The result is an exception.
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
#: The exception is raised to whoever asks for the result.
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = READY_STATES | UNREADY_STATES | {IGNORED}

_RANK = {name: rank for rank, name in enumerate(PRECEDENCE)}


def precedence(state: str | None) -> int:
    """Return the rank of a state: lower is more advanced."""
    return _RANK.get(state, _RANK[None])


class state(str):  # noqa: N801 - the name that Celery's users know
    """A state that compares by how advanced it is: ``state(PENDING) < state(SUCCESS)``."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return precedence(self) > precedence(other)

    def __le__(self, other: str) -> bool:
        return precedence(self) >= precedence(other)

    def __gt__(self, other: str) -> bool:
        return precedence(self) < precedence(other)

    def __ge__(self, other: str) -> bool:
        return precedence(self) <= precedence(other)
