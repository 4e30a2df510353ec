"""Which queues ``-Q`` and ``-X`` mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from taskq.cli.failure import Misuse

if TYPE_CHECKING:
    from taskq.app import TaskQ


def all_queues(app: TaskQ) -> list[str]:
    """The queues that the app declares, and whatever else the broker holds.

    Raises:
        OperationalError: the broker cannot be reached.
    """
    return sorted({*(queue.name for queue in app.queues()), *app.broker.queues()})


def without(names: Sequence[str], excluded: Sequence[str] | None) -> list[str]:
    """These queues, each once, but for those of ``-X``.

    Raises:
        Misuse: ``-X`` names a queue that is not among them, or leaves none.
    """
    excluded = excluded or ()
    if unknown := sorted({*excluded} - {*names}):
        raise Misuse(f"-X {','.join(unknown)}: not among the queues {', '.join(names)}")
    left = [name for name in dict.fromkeys(names) if name not in excluded]
    if not left:
        raise Misuse(f"-X {','.join(excluded)}: no queue is left")
    return left


def existing(app: TaskQ, names: Sequence[str]) -> Sequence[str]:
    """These queues, if they are all there.

    Raises:
        Misuse: one is neither declared nor in the broker.
        OperationalError: the broker cannot be reached.
    """
    known = all_queues(app)
    if unknown := [name for name in names if name not in known]:
        raise Misuse(f"-Q {','.join(unknown)}: there are the queues {', '.join(known)}")
    return names
