"""``manage.py taskq``: the command line of taskq, for the project's app."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandParser, SystemCheckError
from django.db import connections

from taskq.contrib.django import checks, project


class Command(BaseCommand):
    """Hands its arguments on: ``manage.py taskq worker -c 4`` is ``taskq -A proj worker -c 4``."""

    help = "The command line of taskq: worker, beat, inspect and all others; see taskq --help."

    def run_from_argv(self, argv: list[str]) -> None:
        """Run ``manage.py taskq ...``; the command ends the process."""
        parser = ArgumentParser(add_help=False, allow_abbrev=False)
        # Of Django's own options these have done their work before anything gets here.
        for option in ("--settings", "--pythonpath"):
            parser.add_argument(option)
        parser.add_argument("--skip-checks", action="store_true")
        parser.add_argument("--traceback", action="store_true")
        options, rest = parser.parse_known_args(argv[2:])
        try:
            if not options.skip_checks:
                self.check(
                    tags=[checks.TAG],
                    include_deployment_checks=True,
                    databases=list(connections),
                )
        except SystemCheckError as exc:
            self.stderr.write(str(exc), lambda text: text)
            sys.exit(exc.returncode)
        finally:
            connections.close_all()
        _run(rest)

    def add_arguments(self, parser: CommandParser) -> None:
        """For `call_command`."""
        parser.add_argument("args", nargs="*")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run ``call_command("taskq", "worker", ...)``; SystemExit ends it."""
        _run([str(each) for each in args])


def _run(arguments: list[str]) -> None:
    # The command line stands above the bridges, and loads a command when it is used.
    from taskq.cli.main import cli

    spec = project.app_spec()
    cli.main(["-A", spec, *arguments] if spec else arguments, prog_name="manage.py taskq")
