"""Events: what workers and callers tell of tasks as it happens, and how to listen."""

from taskq.events.events import Events
from taskq.events.receiver import EventReceiver
from taskq.events.sender import EventDispatcher
from taskq.events.state import State

__all__ = ["EventDispatcher", "EventReceiver", "Events", "State"]
