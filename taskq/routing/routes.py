"""The setting ``task_routes``, in all the forms it may have."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeGuard

import msgspec

from taskq.exceptions import ImproperlyConfigured
from taskq.routing.queues import Exchange, Queue


class Route(msgspec.Struct, frozen=True):
    """Where a task goes, as far as one rule says it.

    Attributes:
        queue: the queue or its name.
        exchange: the exchange or its name, for messages that are not sent to one queue.
        routing_key: the message's.
        priority: from 0 to 9; 9 goes first.
        options: other options of the call, such as ``serializer`` or ``expires``.
    """

    queue: Queue | str | None = None
    exchange: Exchange | str | None = None
    routing_key: str | None = None
    priority: int | None = None
    options: Mapping[str, Any] = {}


#: ``rule(name, args, kwargs, options, task)``; None leaves it to the next rule.
Rule = Callable[..., Route | None]


class RouteMap:
    """Routes by task name; exact names come before patterns, and these in their order."""

    def __init__(self, pairs: Iterable[tuple[str | re.Pattern[str], object]]) -> None:
        self._exact: dict[str, Route] = {}
        self._patterns: list[tuple[re.Pattern[str], Route]] = []
        for key, value in pairs:
            route = as_route(value, f"task_routes for {_shown(key)}")
            if route is None:
                continue
            if isinstance(key, re.Pattern):
                self._patterns.append((key, route))
            elif any(sign in key for sign in "*?["):
                # Only needed where there are patterns.
                from fnmatch import translate

                self._patterns.append((re.compile(translate(key)), route))
            else:
                self._exact[key] = route

    def __call__(self, name: str, *_: object, **__: object) -> Route | None:
        """Return the route of a task; the rest of what a rule is given does not matter."""
        route = self._exact.get(name)
        if route is None:
            for pattern, route in self._patterns:
                if pattern.match(name):
                    return route
            return None
        return route


def as_route(value: object, origin: str) -> Route | None:
    """Return a route from what a map or router gives: a queue, options, or a route.

    Args:
        value: a queue or its name, a mapping of options, a ``Route``, or None.
        origin: where it comes from, for the error message.

    Raises:
        ImproperlyConfigured: it is none of these.
    """
    match value:
        case None | Route():
            return value
        case str() | Queue():
            return Route(value) if value else None
        case Mapping():
            rest = dict(value)
            named = {key: rest.pop(key, None) for key in _NAMED}
            return Route(**named, options=rest) if value else None
    raise ImproperlyConfigured(
        f"{origin} must be a queue, its name, or a mapping with queue, exchange, "
        f"routing_key or priority, not {value!r}"
    )


_NAMED = ("queue", "exchange", "routing_key", "priority")


def prepare(routes: object) -> list[Rule]:
    """Return the rules in ``task_routes``, in order.

    Args:
        routes: a mapping from name, glob pattern or compiled regular expression to route;
            a list of such pairs; a function; an object with ``route_for_task``; the dotted
            path to one of these; or a list of any of these. A path is imported on first use,
            because the module that it names may import the app.

    Raises:
        ImproperlyConfigured: it is none of these.
    """
    if routes is None:
        return []
    if not _is_sequence(routes):
        return [_rule(routes)]
    return [_rule(item) for item in _with_pairs_joined(routes)]


def _with_pairs_joined(items: Sequence[object]) -> Iterator[object]:
    """Yield the items, with neighbouring pairs as one mapping, where exact names come first."""
    pairs: list[object] = []
    for item in items:
        if _is_pair(item):
            pairs.append(item)
            continue
        if pairs:
            yield pairs
            pairs = []
        yield item
    if pairs:
        yield pairs


def _rule(item: object) -> Rule:
    if isinstance(item, RouteMap):
        return item
    if isinstance(item, Mapping):
        return RouteMap(item.items())
    if _is_sequence(item) and all(map(_is_pair, item)):
        return RouteMap(item)  # type: ignore[arg-type]
    if isinstance(item, str):
        return _Imported(item)
    rule = getattr(item, "route_for_task", item)
    if callable(rule) and not isinstance(item, type):
        return _Asked(rule, with_options=rule is item)
    raise ImproperlyConfigured(
        f"task_routes holds {item!r}: it must be a mapping, a list of pairs, a function, an "
        "object with route_for_task, or the dotted path to one of these"
    )


class _Asked:
    """A router of the user's: a function, or the method ``route_for_task``."""

    def __init__(self, router: Callable[..., object], with_options: bool) -> None:
        self._router = router
        self._with_options = with_options

    def __call__(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
        task: Any = None,
    ) -> Route | None:
        if self._with_options:
            answer = self._router(name, args, kwargs, options, task=task)
        else:
            answer = self._router(name, args, kwargs)
        return as_route(answer, f"the answer of router {self._router!r} for task {name!r}")


class _Imported:
    """A rule given by its dotted path."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._rule: Rule | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Route | None:
        if self._rule is None:
            self._rule = _rule(self._load())
        return self._rule(*args, **kwargs)

    def _load(self) -> object:
        module, colon, attribute = self._path.partition(":")
        if not colon:
            module, _, attribute = self._path.rpartition(".")
        try:
            found = getattr(import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as exc:
            raise ImproperlyConfigured(
                f"task_routes names the router {self._path!r}, which cannot be imported "
                f"({exc}): give it as module:name"
            ) from exc
        is_router_class = isinstance(found, type) and hasattr(found, "route_for_task")
        return found() if is_router_class else found


def _is_sequence(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, (list, tuple))


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and isinstance(value[0], (str, re.Pattern))
        and isinstance(value[1], (str, Mapping, Route, Queue))
    )


def _shown(key: object) -> str:
    return repr(key.pattern if isinstance(key, re.Pattern) else key)
