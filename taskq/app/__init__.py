"""The app, and tasks that belong to whatever app there is."""

from taskq.app.app import TaskQ
from taskq.app.shared import shared_task

__all__ = ["TaskQ", "shared_task"]
