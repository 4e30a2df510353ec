"""The worker: the process that consumes queues and runs tasks."""

from taskq.worker.service import Worker

__all__ = ["Worker"]
