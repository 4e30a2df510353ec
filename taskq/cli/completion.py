"""``taskq completion``: has a shell complete the commands and options of taskq."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from taskq.cli.command import Command
from taskq.cli.session import Session, pass_session

VARIABLE = "_TASKQ_COMPLETE"
"""By this environment variable the shell asks what could follow; click reads it."""


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@pass_session
def completion(session: Session, /, shell: str) -> None:
    """Print the script by which SHELL completes taskq's commands and options.

    For bash and zsh put `eval "$(taskq completion bash)"`, or zsh, into .bashrc or .zshrc; for fish
    redirect it to ~/.config/fish/completions/taskq.fish.
    """
    found = get_completion_class(shell)
    assert found is not None  # click knows all three
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "taskq", VARIABLE).source())
