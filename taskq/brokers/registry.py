"""From a URL to a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.brokers.base import Broker
from taskq.exceptions import ImproperlyConfigured
from taskq.stores.urls import AMQP_SCHEMES, REDIS_SCHEMES, driver, hide_password, scheme_of

if TYPE_CHECKING:
    from taskq.settings import Settings

ENTRY_POINTS = "taskq.brokers"
"""Third parties add a broker under this group: scheme = "module:function(url, conf)"."""


def make_broker(url: str, conf: Settings) -> Broker:
    """The broker of a URL.  Its driver is imported now, and no other.

    Raises:
        ImproperlyConfigured: there is none for that scheme.
    """
    scheme = scheme_of(url)
    if scheme == "sqlite":
        from taskq.brokers.sqlite import SqliteBroker

        return SqliteBroker(url, conf.broker_connection_timeout, conf.broker_transport_options)
    if scheme == "memory":
        from taskq.brokers.memory import MemoryBroker

        return MemoryBroker()
    if scheme in REDIS_SCHEMES:
        with driver(("redis", "hiredis"), "redis", scheme):
            from taskq.brokers.redis import RedisBroker
            from taskq.stores.redis.address import address

        options = conf.broker_transport_options
        return RedisBroker(address(url, conf, options, conf.broker_use_ssl))
    if scheme in AMQP_SCHEMES:
        return _amqp(url, conf)
    if scheme.startswith("kombu+"):
        from taskq.brokers.kombu import KombuBroker
        from taskq.brokers.kombu.channels import Place

        return KombuBroker(Place(url, conf))
    # importlib.metadata is slow to import, and only brokers of third parties need it.
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS, name=scheme):
        broker: Broker = entry.load()(url, conf)
        return broker
    raise ImproperlyConfigured(
        f"broker_url={hide_password(url)!r}: there is no broker for {scheme}://. There are "
        f"sqlite://, memory://, "
        f"{', '.join(f'{name}://' for name in sorted(REDIS_SCHEMES | AMQP_SCHEMES))}, and "
        f"others by installed packages (entry point {ENTRY_POINTS})"
    )


def _amqp(url: str, conf: Settings) -> Broker:
    """RabbitMQ, by the driver that the scheme names."""
    from taskq.brokers.amqp import AmqpBroker
    from taskq.stores.amqp.address import address
    from taskq.stores.amqp.drivers import drivers

    where = address(url, conf)
    return AmqpBroker(where, *drivers(where))
