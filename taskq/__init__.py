"""taskq: a distributed task queue."""

from taskq import states
from taskq.app import TaskQ, shared_task
from taskq.canvas import Signature, chain, maybe_signature, signature
from taskq.context import get_current_app
from taskq.exceptions import Ignore, Reject, Retry
from taskq.message import new_id as uuid
from taskq.result import AsyncResult
from taskq.routing import Broadcast, Exchange, Queue, binding
from taskq.task import Task

__all__ = [
    "AsyncResult",
    "Broadcast",
    "Exchange",
    "Ignore",
    "Queue",
    "Reject",
    "Retry",
    "Signature",
    "Task",
    "TaskQ",
    "binding",
    "chain",
    "get_current_app",
    "maybe_signature",
    "shared_task",
    "signature",
    "states",
    "uuid",
]
__version__ = "0.1.0"
