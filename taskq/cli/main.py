"""The command ``taskq``: finds its subcommands, and tells users what went wrong."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from taskq.cli.command import Group
from taskq.cli.failure import Failure, Misuse, user_code
from taskq.cli.session import Session
from taskq.exceptions import ImproperlyConfigured, TaskQError

if TYPE_CHECKING:
    from taskq.app import TaskQ

COMMANDS = {
    "beat": "taskq.cli.beat:beat",
    "call": "taskq.cli.call:call",
    "completion": "taskq.cli.completion:completion",
    "control": "taskq.cli.remote:control",
    "demo": "taskq.cli.demo.command:demo",
    "dlq": "taskq.cli.dlq:dlq",
    "events": "taskq.cli.events.command:events",
    "inspect": "taskq.cli.remote:inspect",
    "list": "taskq.cli.listing:listing",
    "outbox": "taskq.cli.outbox:outbox",
    "migrate": "taskq.cli.migrate:migrate",
    "multi": "taskq.cli.multi.command:multi",
    "purge": "taskq.cli.purge:purge",
    "queues": "taskq.cli.queues:queues",
    "report": "taskq.cli.report:report",
    "result": "taskq.cli.result:result",
    "schedule": "taskq.cli.schedule:schedule",
    "settings": "taskq.cli.settings:settings",
    "shell": "taskq.cli.shell:shell",
    "status": "taskq.cli.remote:status",
    "upgrade": "taskq.cli.upgrade:upgrade",
    "worker": "taskq.cli.worker:worker",
}
"""Where each command is, as an entry point says it: loaded when it is used, and no sooner."""

ENTRY_POINTS = "taskq.commands"
"""Third parties add a command under this group: name = "module:click_command"."""


class CommandLine(Group):
    """The group of all commands, its own and those of other packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        # importlib.metadata is slow to import; a known command never gets here.
        from importlib.metadata import entry_points

        return sorted({*COMMANDS, *(entry.name for entry in entry_points(group=ENTRY_POINTS))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of that name."""
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        from importlib.metadata import entry_points

        for entry in entry_points(group=ENTRY_POINTS, name=cmd_name):
            with user_code(f"the command {cmd_name}"):
                loaded: click.Command = entry.load()
            return loaded
        return None

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what a user can mend is told in words, without a traceback."""
        try:
            return super().invoke(ctx)
        except ImproperlyConfigured as exc:
            raise Misuse(str(exc)) from exc
        except TaskQError as exc:
            raise Failure(str(exc)) from exc
        except KeyboardInterrupt:
            # As a shell reports a program that SIGINT has ended.
            raise click.exceptions.Exit(130) from None


@click.group("taskq", cls=CommandLine)
def cli() -> None:
    """A distributed task queue."""


def main() -> None:
    """The console script ``taskq``; ends the process."""
    cli(prog_name="taskq")


def run(argv: Sequence[str] | None, app: TaskQ) -> None:
    """The command line of a program that is itself the app; ends the process.

    Args:
        argv: command and options; what the program was called with by default.
        app: the app, so that nobody has to name it.
    """
    cli.main(None if argv is None else list(argv), obj=Session(given=app))
