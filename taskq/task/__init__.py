"""The task: a function with a name, options, and ways to call it elsewhere."""

from taskq.task.options import TaskOptions
from taskq.task.task import Task

__all__ = ["Task", "TaskOptions"]
