"""Which jobs travel together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from taskq.worker.pool.packets import LARGE

if TYPE_CHECKING:
    from taskq.worker.job import Job

ALONE_FROM = 3
"""From this delivery on a message travels alone: it may be what kills its process."""


def bundle(jobs: Sequence[Job], start: int, most: int) -> Sequence[Job]:
    """The jobs of one packet: of the same task, small, and above suspicion.

    Args:
        jobs: what there is, in order.
        start: which of them is the first of the packet; it goes, whatever it is.
        most: how many at most.
    """
    task, size, end = jobs[start].task, 0, start
    for job in jobs[start : start + most]:
        delivery = job.delivery
        size += len(delivery.packed)
        if job.task is not task or size > LARGE or delivery.deliveries >= ALONE_FROM:
            break
        end += 1
    return jobs[start : max(end, start + 1)]
