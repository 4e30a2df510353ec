"""Which store a beat uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.beat.stores.base import ScheduleStore
from taskq.brokers.sqlite import SqliteBroker
from taskq.exceptions import ImproperlyConfigured
from taskq.stores.sqlite import Database
from taskq.stores.urls import REDIS_SCHEMES, driver, hide_password

if TYPE_CHECKING:
    from taskq.app import TaskQ

ENTRY_POINTS = "taskq.schedule_stores"
"""Third parties add a store under this group: name = "module:function(app)"."""
_CELERYS = {
    "celery.beat:PersistentScheduler": "sqlite",
    "celery.beat.PersistentScheduler": "sqlite",
    "django_celery_beat.schedulers:DatabaseScheduler": "django",
    "django_celery_beat.schedulers.DatabaseScheduler": "django",
}
"""What Celery's users have in their settings, and what is the same here."""


def open_store(app: TaskQ, scheduler: str | None = None, path: str | None = None) -> ScheduleStore:
    """The schedule store of an app.

    Without any wish it is the broker itself where that can be one (SQLite, Redis), since then
    claiming a tick and sending it is one step; otherwise a file, or, beside a broker in memory,
    memory as well.

    Args:
        app: the app.
        scheduler: ``sqlite``, ``redis``, ``memory``, ``django``, a URL, or the name of an entry
            point; the setting ``beat_scheduler`` by default.
        path: a file; the setting ``beat_schedule_filename`` by default.

    Raises:
        ImproperlyConfigured: there is no such store.
    """
    scheduler = scheduler or ("sqlite" if path else app.conf.beat_scheduler)
    scheduler = _CELERYS.get(scheduler, scheduler) if scheduler else None
    if scheduler is None:
        url = app.conf.broker_url
        scheme = url.partition("://")[0].lower()
        broker_is_one = scheme == "sqlite" or scheme in REDIS_SCHEMES
        scheduler = url if broker_is_one else "memory" if scheme == "memory" else "sqlite"
    scheme, separator, _ = scheduler.partition("://")
    if not separator:
        if scheme == "sqlite":
            return _sqlite(app, f"sqlite:///{path or app.conf.beat_schedule_filename}")
        if scheme == "redis":
            return _redis(app, app.conf.broker_url)
        if scheme == "memory":
            return _memory(app)
    elif scheme.lower() == "sqlite":
        return _sqlite(app, scheduler)
    elif scheme.lower() in REDIS_SCHEMES:
        return _redis(app, scheduler)
    return _third_party(app, scheduler)


def namespace_of(app: TaskQ) -> str:
    """Under which name a store keeps an app's entries."""
    return app.main or "taskq"


def _memory(app: TaskQ) -> ScheduleStore:
    """The one that lives in this process, for all that ask for it."""
    from taskq.beat.stores.memory import MemoryScheduleStore

    if app.memory_schedule is None:
        app.memory_schedule = MemoryScheduleStore(app.conf.beat_lease)
    store: ScheduleStore = app.memory_schedule
    return store


def _sqlite(app: TaskQ, url: str) -> ScheduleStore:
    from taskq.beat.stores.sqlite import SqliteScheduleStore

    database = Database(url, app.conf.broker_connection_timeout)
    broker = app.broker
    sends = isinstance(broker, SqliteBroker) and broker.database.path == database.path
    if isinstance(broker, SqliteBroker) and sends:
        database = broker.database  # with its options
    return SqliteScheduleStore(database, namespace_of(app), sends=sends, lease=app.conf.beat_lease)


def _redis(app: TaskQ, url: str) -> ScheduleStore:
    scheme = url.partition("://")[0].lower()
    if scheme not in REDIS_SCHEMES:
        raise ImproperlyConfigured(
            f"beat_scheduler='redis' means the broker, which is {hide_password(url)!r}: name the "
            "server instead, such as redis://localhost:6379/0"
        )
    with driver(("redis", "hiredis"), "redis", scheme):
        from taskq.beat.stores.redis import RedisScheduleStore
        from taskq.brokers.redis import RedisBroker
        from taskq.stores.redis import RedisStore
        from taskq.stores.redis.address import address
    conf, broker = app.conf, app.broker
    place = address(url, conf, conf.broker_transport_options, conf.broker_use_ssl)
    if isinstance(broker, RedisBroker) and broker.store.address.same_place(place):
        sends = not place.cluster or bool(place.tag)
        return RedisScheduleStore(broker.store, namespace_of(app), sends, conf.beat_lease)
    return RedisScheduleStore(RedisStore(place), namespace_of(app), False, conf.beat_lease)


def _third_party(app: TaskQ, name: str) -> ScheduleStore:
    # importlib.metadata is slow to import, and only stores of third parties need it.
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS, name=name.partition("://")[0]):
        store: ScheduleStore = entry.load()(app)
        return store
    raise ImproperlyConfigured(
        f"beat_scheduler={hide_password(name)!r} is not known: there are sqlite, redis, memory, "
        f"django, URLs of these, and others by installed packages (entry point {ENTRY_POINTS})"
    )
