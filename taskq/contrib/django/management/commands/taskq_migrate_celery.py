"""``manage.py taskq_migrate_celery``: moves what Celery's packages for Django have kept."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS

from taskq.contrib.django.moving.beat import move_schedule
from taskq.contrib.django.moving.results import move_results


class Command(BaseCommand):
    """Moves the tables of django-celery-beat and django-celery-results; theirs stay as they are.

    What is here already is left alone: the command can be run again.
    """

    help = (
        "Move periodic tasks of django-celery-beat and results of django-celery-results to taskq. "
        "The packages need not be installed any more, only their tables be there, and they stay."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """The options."""
        parser.add_argument(
            "--dry-run", action="store_true", help="only say what would be moved, and what not"
        )
        parser.add_argument(
            "--only", choices=("schedule", "results"), help="move only one of the two"
        )
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, help="the database with Celery's tables"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Move, and say what was moved.

        Raises:
            CommandError: something could not be moved.
        """
        alias, dry_run = options["database"], options["dry_run"]
        reports = []
        if options["only"] != "results":
            reports.append(move_schedule(alias, dry_run))
        if options["only"] != "schedule":
            reports += move_results(alias, dry_run)
        for report in reports:
            self.stdout.write(report.summary(dry_run))
            details = options["verbosity"] > 1
            for line in report.skipped if details else ():
                self.stdout.write(f"  left out: {line}")
            for line in report.failed:
                self.stderr.write(f"  cannot be moved: {line}")
        if failed := sum(len(report.failed) for report in reports):
            raise CommandError(
                f"{failed} could not be moved, for the reasons above; all others "
                f"{'would be' if dry_run else 'were'}"
            )
