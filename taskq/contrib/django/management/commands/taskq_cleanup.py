"""``manage.py taskq_cleanup``: deletes results that have expired."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from taskq.context import get_current_app
from taskq.exceptions import TaskQError


class Command(BaseCommand):
    """Deletes what has expired from the result store, as workers do every ten minutes."""

    help = (
        "Delete results that are older than result_expires. Workers do so every ten minutes; this "
        "is for where none runs."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete, and say how many that were.

        Raises:
            CommandError: the result store cannot be reached.
        """
        try:
            count = get_current_app().backend.cleanup()
        except TaskQError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"deleted: {count}")
