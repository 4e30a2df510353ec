"""Choosing where a message goes."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import msgspec

from taskq.exceptions import ImproperlyConfigured, QueueNotFound
from taskq.routing.queues import Broadcast, Exchange, Queue
from taskq.routing.routes import Route, RouteMap, prepare
from taskq.settings import Settings

# Task names come from the code, except where a program makes them up as it goes.
_CACHED = 10_000


class Destination(msgspec.Struct):
    """Where one message goes. May be shared between messages: not to be changed.

    Attributes:
        queue: the queue that is meant, to be declared; None if only an exchange was named.
        exchange: the exchange's name; empty for the nameless one.
        routing_key: the message's; with the nameless exchange, the queue's name.
        priority: what the call, the task or a route says; None if nothing does.
        options: other options that the route sets and the call leaves open.
        declared_exchange: the exchange, to be declared, if one was named as an object.
    """

    queue: Queue | None
    exchange: str
    routing_key: str
    priority: int | None = None
    options: Mapping[str, Any] = {}
    declared_exchange: Exchange | None = None


_NOWHERE = Route()


class Router:
    """Chooses where messages go.

    What the call says comes first, then the task's own attributes (the caller has merged
    these two), then the first of ``task_routes`` that answers, then the default queue. Who
    names a queue or an exchange settles both; other options may come from further down.

    Args:
        queues: the declared queues, by name.
        routes: as in the setting ``task_routes``.
        default_queue: where messages go that nothing else decides; a name, or the queue.
        default_exchange: the exchange of messages for which only a routing key was given.
        default_routing_key: of messages for which only an exchange was given.
        create_missing: make a queue for a name that is not declared.
    """

    def __init__(
        self,
        queues: Mapping[str, Queue] | None = None,
        routes: object = None,
        default_queue: str | Queue = "default",
        default_exchange: str = "",
        default_routing_key: str = "",
        create_missing: bool = True,
    ) -> None:
        self.queues = dict(queues or {})
        self._rules = prepare(routes)
        self._default_exchange = default_exchange
        self._default_routing_key = default_routing_key
        self._create_missing = create_missing
        if isinstance(default_queue, Queue):
            self.queues.setdefault(default_queue.name, default_queue)
        self._default_queue = default_queue
        # Only maps always give the same answer for the same name.
        self._static = all(isinstance(rule, RouteMap) for rule in self._rules)
        self._by_name: dict[str, Destination] = {}

    @classmethod
    def from_settings(cls, conf: Settings) -> Self:
        """Make the router that the settings describe.

        Raises:
            ImproperlyConfigured: ``task_queues`` or ``task_routes`` make no sense.
        """
        name = conf.task_default_queue
        queues = declared_queues(conf.task_queues, conf.task_queue_max_priority)
        exchange = Exchange(
            conf.task_default_exchange or (name if conf.celery_interop else ""),
            conf.task_default_exchange_type,
        )
        routing_key = conf.task_default_routing_key or name
        default = Queue(name, exchange, routing_key, max_priority=conf.task_queue_max_priority)
        return cls(
            queues,
            conf.task_routes,
            # With queues of one's own, the default one must be among them or be creatable.
            name if queues else default,
            exchange.name,
            routing_key,
            conf.task_create_missing_queues,
        )

    def queue(self, name: str) -> Queue:
        """Return the queue of that name, made if it is missing and that is allowed.

        Raises:
            QueueNotFound: it is not declared, and may not be created.
        """
        queue = self.queues.get(name)
        if queue is None:
            if not self._create_missing:
                known = ", ".join(sorted(self.queues)) or "none"
                raise QueueNotFound(
                    f"queue {name!r} is not declared (declared: {known}): add it to "
                    "task_queues, or let task_create_missing_queues be true"
                )
            queue = self.queues[name] = Queue(name)
        return queue

    def bound_to(self, exchange: str) -> list[Queue]:
        """Return the declared queues that get messages from an exchange.

        Those of a `Broadcast` are not among them: each worker declares its own.
        """
        return [
            queue
            for queue in self.queues.values()
            if not isinstance(queue, Broadcast)
            and any(bound.exchange.name == exchange for bound in queue.all_bindings())
        ]

    def route(
        self,
        options: Mapping[str, Any],
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        task: Any = None,
    ) -> Destination:
        """Return where a message goes.

        Args:
            options: of the call, merged over the task's own.
            name: the task's name.
            args: the task's arguments, for routers that look at them.
            kwargs: its keyword arguments.
            task: the task, for routers that look at it.

        Raises:
            QueueNotFound: a queue is named that is not declared and may not be created.
            ImproperlyConfigured: a router's answer makes no sense.
        """
        if self._static:
            known = self._by_name.get(name)
            if known is not None and _says_nothing(options):
                return known
        route = self._route_for(name, args, kwargs or {}, options, task)
        destination = self._destination(options, route)
        if self._static and not route.options and _says_nothing(options):
            if len(self._by_name) >= _CACHED:
                self._by_name.clear()
            self._by_name[name] = destination
        return destination

    def _route_for(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
        task: Any,
    ) -> Route:
        for rule in self._rules:
            route = rule(name, args, kwargs, options, task=task)
            if route is not None:
                return route
        return _NOWHERE

    def _destination(self, options: Mapping[str, Any], route: Route) -> Destination:
        queue, exchange = options.get("queue"), options.get("exchange")
        routing_key = options.get("routing_key")
        if queue is None and exchange is None:
            queue, exchange = route.queue, route.exchange
            routing_key = routing_key or route.routing_key
        priority = options.get("priority")
        if priority is None:
            priority = route.priority
        rest = {key: value for key, value in route.options.items() if options.get(key) is None}
        target = self._target(queue, exchange, routing_key)
        address = self._address(target, exchange, routing_key)
        declared = exchange if isinstance(exchange, Exchange) else None
        return Destination(target, *address, priority, rest, declared)

    def _target(self, queue: object, exchange: object, routing_key: str | None) -> Queue | None:
        if isinstance(queue, Queue):
            return self.queues.setdefault(queue.name, queue)
        if isinstance(queue, str):
            return self.queue(queue)
        if queue is not None:
            raise ImproperlyConfigured(
                f"queue must be a name or a Queue, not {queue!r} ({type(queue).__name__})"
            )
        if exchange is not None or (routing_key and self._default_exchange):
            return None
        if routing_key and routing_key in self.queues:
            return self.queues[routing_key]
        return self._default()

    def _default(self) -> Queue:
        default = self._default_queue
        return default if isinstance(default, Queue) else self.queue(default)

    def _address(
        self, queue: Queue | None, exchange: object, routing_key: str | None
    ) -> tuple[str, str]:
        if isinstance(exchange, Exchange):
            exchange = exchange.name
        if exchange is None and queue is None:
            exchange = self._default_exchange
        if exchange is not None:
            own = queue.routing_key if queue is not None else self._default_routing_key
            return str(exchange), routing_key or own
        assert queue is not None
        own_exchange, own_key = queue.address()
        # A key of the message's own only means something to an exchange that has a name.
        if routing_key and queue.exchange.name:
            return queue.exchange.name, routing_key
        return own_exchange, own_key


def declared_queues(task_queues: object, max_priority: int | None = None) -> dict[str, Queue]:
    """Return the queues in the setting ``task_queues``, by name.

    Args:
        task_queues: queues or names, or a mapping from name to options or queue.
        max_priority: of queues that do not say so themselves.

    Raises:
        ImproperlyConfigured: it is something else.
    """
    match task_queues:
        case None:
            return {}
        case Mapping():
            queues = [_as_queue(value, name, max_priority) for name, value in task_queues.items()]
        case list() | tuple() | set() | frozenset():
            queues = [_as_queue(value, None, max_priority) for value in task_queues]
        case _:
            raise ImproperlyConfigured(
                f"setting 'task_queues' must be a list of queues, or a mapping from name to "
                f"options, not {task_queues!r} ({type(task_queues).__name__})"
            )
    return {queue.name: queue for queue in queues}


def _as_queue(value: object, name: str | None, max_priority: int | None) -> Queue:
    match value:
        case Queue():
            return value
        case str() if name is None:
            return Queue(value, max_priority=max_priority)
        case Mapping() | None if name is not None:
            return Queue.from_options(name, {"max_priority": max_priority, **(value or {})})
    raise ImproperlyConfigured(
        f"setting 'task_queues' holds {value!r} ({type(value).__name__}): it must be a Queue, "
        "a name, or options under a name"
    )


def _says_nothing(options: Mapping[str, Any]) -> bool:
    get = options.get
    return (
        get("queue") is None
        and get("exchange") is None
        and get("routing_key") is None
        and get("priority") is None
    )
