"""Which queues ``-Q`` and ``-X`` mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from taskq.cli.failure import Misuse

if TYPE_CHECKING:
    from taskq.app import TaskQ


def chosen_queues(
    app: TaskQ, names: Sequence[str] | None, excluded: Sequence[str] | None
) -> list[str]:
    """Names of queues: those of ``-Q``, or all that the app declares, without those of ``-X``.

    Raises:
        QueueNotFound: one is not declared, and must be.
        Misuse: ``-X`` names a queue that is not among them, or leaves none.
    """
    chosen = [app.router.queue(name).name for name in names or [q.name for q in app.queues()]]
    unknown = sorted({*(excluded or ())} - {*chosen})
    if unknown:
        raise Misuse(f"-X {','.join(unknown)}: not among the queues {', '.join(chosen)}")
    left = [name for name in dict.fromkeys(chosen) if name not in (excluded or ())]
    if not left:
        raise Misuse(f"-X {','.join(excluded or ())} leaves no queue")
    return left
