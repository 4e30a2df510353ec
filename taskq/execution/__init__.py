"""One execution of a task: from the message to all that must be settled with it."""

from taskq.execution.calling import Invoke
from taskq.execution.report import Report, Sentence
from taskq.execution.runner import TaskRunner

__all__ = ["Invoke", "Report", "Sentence", "TaskRunner"]
