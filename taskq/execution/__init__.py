"""One execution of a task: from the message to all that must be settled with it."""

from taskq.execution.report import Report, Sentence
from taskq.execution.runner import Invoke, TaskRunner

__all__ = ["Invoke", "Report", "Sentence", "TaskRunner"]
