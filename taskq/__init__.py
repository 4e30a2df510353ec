"""taskq: a distributed task queue."""

from taskq import states
from taskq.app import TaskQ, shared_task
from taskq.canvas import Signature, chain, chord, group, maybe_signature, signature
from taskq.context import get_current_app
from taskq.exceptions import Ignore, Reject, Retry
from taskq.message import new_id as uuid
from taskq.result import AsyncResult
from taskq.result_set import GroupResult, ResultSet
from taskq.routing import Broadcast, Exchange, Queue, binding
from taskq.task import Task

__all__ = [
    "AsyncResult",
    "Broadcast",
    "Exchange",
    "GroupResult",
    "Ignore",
    "Queue",
    "Reject",
    "ResultSet",
    "Retry",
    "Signature",
    "Task",
    "TaskQ",
    "binding",
    "chain",
    "chord",
    "get_current_app",
    "group",
    "maybe_signature",
    "shared_task",
    "signature",
    "states",
    "uuid",
]
__version__ = "0.1.0"
