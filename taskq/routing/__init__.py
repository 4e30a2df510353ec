"""Where messages go: queues, exchanges and bindings, and the rules that choose among them."""

from taskq.routing.matching import matching_queues, topic_matches
from taskq.routing.queues import Broadcast, Exchange, Queue, binding
from taskq.routing.router import Destination, Router
from taskq.routing.routes import Route

__all__ = [
    "Broadcast",
    "Destination",
    "Exchange",
    "Queue",
    "Route",
    "Router",
    "binding",
    "matching_queues",
    "topic_matches",
]
