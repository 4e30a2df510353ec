"""Listening to what is told, in blocking code: a connection for each subscription."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import redis.exceptions as redis_errors

from taskq.brokers.notices import Notice, Subscription
from taskq.stores.redis.errors import explain

if TYPE_CHECKING:
    from taskq.brokers.redis.telling import Place
    from taskq.stores.redis import RedisStore
    from taskq.stores.redis.client import Link

_ERRORS = (redis_errors.RedisError, OSError)
_AT_ONCE = 256


class RedisSubscription(Subscription):
    """Listens over a connection of its own.

    Args:
        store: where to connect.
        place: what to listen to.
    """

    def __init__(self, store: RedisStore, place: Place) -> None:
        self._store = store
        self._place = place
        self._link: Link | None = None
        try:
            self._connected()
        except _ERRORS as exc:
            raise explain(exc, store.address.shown) from exc

    def _connected(self) -> Link:
        if self._link is None:
            link = self._store.open_listener()
            try:
                link.send([self._place.command])
                for _ in range(self._place.confirmations()):
                    link.read_any()
            except BaseException:
                link.close()
                raise
            self._link = link
        return self._link

    def receive(self, timeout: float | None = None) -> list[Notice]:
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            return self._receive(deadline)
        except _ERRORS as exc:
            self.close()
            raise explain(exc, self._store.address.shown) from exc

    def _receive(self, deadline: float | None) -> list[Notice]:
        link = self._connected()
        patience = self._store.address.options.get("socket_timeout") or 3600.0
        asked = False
        notices: list[Notice] = []
        while not notices:
            left = patience if deadline is None else deadline - time.monotonic()
            if link.readable(max(min(patience, left), 0.0)):
                notices += self._place.heard(link.read_any())
                asked = False
            elif left <= patience and deadline is not None:
                return []
            elif asked:
                raise redis_errors.TimeoutError("no answer in time")
            else:  # a network that loses packets tells nobody
                link.send([("PING",)])
                asked = True
        while len(notices) < _AT_ONCE and link.readable(0):
            notices += self._place.heard(link.read_any())
        return notices

    def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()
