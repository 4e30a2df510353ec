"""The tables of taskq in the project's database."""

from taskq.contrib.django.models.results import ChordPart, GroupResult, TaskResult

__all__ = ["ChordPart", "GroupResult", "TaskResult"]
