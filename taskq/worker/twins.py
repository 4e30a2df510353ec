"""Copies of a message that was sent twice: which of them counts.

Three kinds of messages can be in a queue twice on a broker that knows no keys:

* A step that follows a task, when a worker has died between publishing it and acknowledging the
  task.  The second is dropped where it meets the first, or when that has succeeded.
* A tick of beat's, when a beat has died between publishing it and noting that.  Either copy
  claims the tick in the result store, which keeps the first claim: the other is dropped,
  wherever it is.  A copy that is delivered again, as its worker has died, has its claim still.
* What was published once more since its confirm did not come.  Only the second is marked; both
  have one name.  It is dropped when anything is known of the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

from taskq import states
from taskq.backends.base import Outcome
from taskq.brokers.base import Delivery
from taskq.message import AGAIN, TICK


def is_suspect(delivery: Delivery) -> bool:
    """May it have run before, or run at this moment?"""
    if not delivery.identity:
        return False
    return delivery.deliveries > 1 or delivery.message.once is not None


def is_copy(delivery: Delivery) -> bool:
    """Was it sent before, and is perhaps there twice, under one name?"""
    return (delivery.message.once or "").startswith(AGAIN)


def without_twins(
    deliveries: Sequence[Delivery], is_here: Callable[[Delivery], bool]
) -> tuple[list[Delivery], list[Delivery]]:
    """What must be looked up, and what is only the second copy of a message that is here.

    Args:
        deliveries: what has come.
        is_here: does that very message run in this worker?
    """
    suspects: list[Delivery] = []
    twins: list[Delivery] = []
    seen: set[str] = set()
    for delivery in deliveries:
        once = delivery.message.once
        if is_suspect(delivery):
            if once is None or delivery.deliveries > 1:
                if not is_here(delivery):
                    suspects.append(delivery)
            elif once in seen or delivery.identity in seen or is_here(delivery):
                twins.append(delivery)
            else:
                suspects.append(delivery)
        seen.add(delivery.identity)
        if once is not None:
            seen.add(once)
    return suspects, twins


def claim_of(delivery: Delivery) -> Outcome | None:
    """What says in the result store that a tick is this copy of it; None of anything else.

    A success is never overwritten there: of two claims the first stays.
    """
    once = delivery.message.once
    if once is None or not once.startswith(TICK):
        return None
    return Outcome(_claim_id(delivery), states.SUCCESS, delivery.identity.encode())


def was_claimed_by_another(delivery: Delivery, known: Mapping[str, Outcome]) -> bool:
    """Has another copy of this tick claimed it?

    Args:
        delivery: of whatever kind.
        known: what the result store has.
    """
    claim = known.get(_claim_id(delivery)) if delivery.message.once else None
    return claim is not None and bytes(claim.payload) != delivery.identity.encode()


def _claim_id(delivery: Delivery) -> str:
    # A tick that goes to several queues is another in each of them.
    text = f"{delivery.queue}\n{delivery.message.once}"
    return f"taskq-tick-{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"
