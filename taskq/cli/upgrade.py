"""``taskq upgrade``: what has to change in a program that comes from Celery."""

from __future__ import annotations

import tokenize
from pathlib import Path

import click

from taskq.cli.command import Group
from taskq.cli.failure import Misuse
from taskq.cli.session import Session, pass_session


@click.group("upgrade", cls=Group)
def upgrade() -> None:
    """Change files of a program that comes from Celery."""


@upgrade.command("settings")
@click.argument("filename", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Show the new file, and leave the old one alone.")
@click.option("--django", is_flag=True, help="Upper case with TASKQ_ before it, for Django.")
@click.option("--compat", is_flag=True, help="Upper case with CELERY_ before it, read by both.")
@click.option("--no-backup", is_flag=True, help="Keep no copy of the old file (.orig).")
@pass_session
def settings(
    session: Session, /, filename: Path, dry_run: bool, django: bool, compat: bool, no_backup: bool
) -> None:
    """Rename Celery's settings in a Python file."""
    # Only this command needs it.
    from taskq.settings.upgrading import upgrade as renew

    if django and compat:
        raise Misuse("--django and --compat exclude each other")
    prefix = "TASKQ_" if django else "CELERY_" if compat else ""
    try:
        old = filename.read_text()
        text, renamed, unknown = renew(
            old, lambda name: (prefix + name).upper() if prefix else name
        )
    except (SyntaxError, UnicodeDecodeError, tokenize.TokenError) as exc:
        raise Misuse(f"{filename} is no Python source: {exc}") from exc
    if dry_run:
        click.echo(text, nl=False)
    elif text != old:
        if not no_backup:
            filename.with_name(f"{filename.name}.orig").write_text(old)
        filename.write_text(text)
    if not session.quiet:
        for name, written in renamed.items():
            click.echo(f"{name} is {written} now", err=True)
    for name in unknown:
        click.echo(f"{name}: taskq has no such setting, it stays", err=True)
