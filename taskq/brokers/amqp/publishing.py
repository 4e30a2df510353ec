"""Publishing: where a message goes, and what becomes of an attempt that failed halfway."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import msgspec

from taskq.brokers.amqp import topology
from taskq.brokers.amqp.wire import ONCE
from taskq.exceptions import OperationalError, QueueNotFound
from taskq.message import AGAIN
from taskq.stores.amqp.links import ChannelError, Link, Refusal, Unconfirmed
from taskq.stores.amqp.parcels import Parcel

_UNSURE = 1000
"""Failed attempts that are remembered at most."""


class _Attempt(msgspec.Struct):
    """Places of what is confirmed, and of what may be there by which name."""

    confirmed: set[int]
    doubtful: dict[int, str]


class Attempts:
    """What became of attempts that failed.

    The next attempt leaves out what has been confirmed.  What the broker may have all the same is
    sent again under the name that it had, and with a mark, by which workers know it for a copy.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, ...], _Attempt] = OrderedDict()

    def confirmed(self, parcels: Sequence[Parcel]) -> set[int]:
        """Places of those that need not be published any more; the others are marked."""
        attempt = self._known.get(_identity(parcels)) if self._known else None
        if attempt is None:
            return set()
        for place, name in attempt.doubtful.items():
            parcel = parcels[place]
            if ONCE not in parcel.headers:  # otherwise workers know copies by that
                parcel.message_id = name
                parcel.headers = {**parcel.headers, ONCE: f"{AGAIN}{name}"}
        return attempt.confirmed

    def failed(
        self, parcels: Sequence[Parcel], confirmed: set[int], doubtful: Iterable[int] = ()
    ) -> None:
        """An attempt failed, with these confirmed, and these that are perhaps there."""
        key = _identity(parcels)
        attempt = self._known.setdefault(key, _Attempt(set(), {}))
        attempt.confirmed |= confirmed
        for place in doubtful:
            if name := parcels[place].message_id:
                attempt.doubtful[place] = name
        self._known.move_to_end(key)
        while len(self._known) > _UNSURE:
            self._known.popitem(last=False)

    def done(self, parcels: Sequence[Parcel]) -> None:
        """All of it has been confirmed."""
        if self._known:
            self._known.pop(_identity(parcels), None)


def _identity(parcels: Sequence[Parcel]) -> tuple[str, ...]:
    """What is the same when the same messages are published again."""
    ends = parcels[0], parcels[-1]
    return (
        str(len(parcels)),
        *(
            f"{p.correlation_id}/{p.headers.get('retries')}/{topology.undelayed_key(p.routing_key)}"
            for p in ends
        ),
    )


def delayed(parcel: Parcel, due: float) -> tuple[Parcel, bool]:
    """The parcel as it is published when it must wait, and whether the broker lets it wait.

    Whole seconds are spent in the broker, and the rest with the worker that gets it.
    """
    seconds = math.floor(due - time.time())
    if seconds < 1:
        return parcel, False
    key = topology.delayed_key(seconds, parcel.routing_key)
    return (
        msgspec.structs.replace(parcel, exchange=topology.DELAY_EXCHANGE, routing_key=key),
        True,
    )


def publish(link: Link, parcels: Sequence[Parcel], attempts: Attempts) -> None:
    """Publish, leaving out what an earlier attempt has brought there.

    Raises:
        QueueNotFound: no queue is bound for one of them.
        OperationalError: the broker refuses one, or cannot be reached.
    """
    known = attempts.confirmed(parcels)
    places = [place for place in range(len(parcels)) if place not in known]
    try:
        refusals = link.publish([parcels[place] for place in places])
    except Unconfirmed as exc:
        attempts.failed(
            parcels,
            {places[place] for place in exc.confirmed},
            [places[place] for place in exc.doubtful],
        )
        for refusal in exc.refusals:
            if refusal.unroutable:
                raise _refused(parcels[places[refusal.place]], refusal) from exc
        raise
    if refusals:
        attempts.failed(parcels, {places[place] for place in link.confirms.confirmed})
        if not refusals[0].unroutable:
            # A channel that was opened while a quorum queue had no leader is refused for ever
            # (seen with RabbitMQ 3.10): the next attempt begins on another.
            link.close()
        raise _refused(parcels[places[refusals[0].place]], refusals[0])
    attempts.done(parcels)


def _refused(parcel: Parcel, refusal: Refusal) -> Exception:
    key = topology.undelayed_key(parcel.routing_key)
    if refusal.unroutable:
        return QueueNotFound(
            f"no queue is bound to the exchange {parcel.exchange!r} for the routing key {key!r}"
        )
    return OperationalError(
        f"RabbitMQ refused a message to {key!r}: {refusal.text}; make room there, or try again "
        "later"
    )


def missing_exchange(exc: ChannelError, exchange: str, routing_key: str) -> QueueNotFound:
    """The error for an exchange that is not there."""
    return QueueNotFound(
        f"no queue is bound to the exchange {exchange!r} for the routing key {routing_key!r}: "
        f"there is no such exchange ({exc.text})"
    )
