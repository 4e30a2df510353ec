"""taskq: a distributed task queue."""

from taskq import states
from taskq.app import TaskQ, shared_task
from taskq.canvas import (
    Signature,
    StampingVisitor,
    chain,
    chord,
    chunks,
    group,
    maybe_signature,
    signature,
    xmap,
    xstarmap,
)
from taskq.context import get_current_app
from taskq.current import bugreport, current_app, current_task
from taskq.exceptions import Ignore, Reject, Retry
from taskq.group_result import GroupResult, result_from_tuple
from taskq.joining import allow_join_result
from taskq.message import new_id as uuid
from taskq.middleware import Middleware
from taskq.result import AsyncResult
from taskq.result_set import ResultSet
from taskq.routing import Broadcast, Exchange, Queue, binding
from taskq.task import Task

__all__ = [
    "AsyncResult",
    "Broadcast",
    "Exchange",
    "GroupResult",
    "Ignore",
    "Middleware",
    "Queue",
    "Reject",
    "ResultSet",
    "Retry",
    "Signature",
    "StampingVisitor",
    "Task",
    "TaskQ",
    "allow_join_result",
    "binding",
    "bugreport",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "get_current_app",
    "group",
    "maybe_signature",
    "result_from_tuple",
    "shared_task",
    "signature",
    "states",
    "uuid",
    "xmap",
    "xstarmap",
]
__version__ = "0.1.0"
