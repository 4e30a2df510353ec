"""The worker's side of remote control."""

from taskq.worker.control.node import Node
from taskq.worker.control.state import WorkerState

__all__ = ["Node", "WorkerState"]
