"""``taskq settings``: which settings are in force, and where they come from."""

from __future__ import annotations

from typing import Any

import click

from taskq.cli.command import Command
from taskq.cli.output import show_json, show_table
from taskq.cli.session import Session, pass_session
from taskq.settings import SETTINGS, Setting, Settings
from taskq.settings.conversion import expected
from taskq.settings.secrets import masked


@click.command("settings", cls=Command)
@click.option("--all", "everything", is_flag=True, help="Those with their defaults as well.")
@click.option("--json", "as_json", is_flag=True, help="As JSON: an object for each setting.")
@click.option("--docs", is_flag=True, help="Explain all settings, as a table in Markdown.")
@pass_session
def settings(session: Session, /, everything: bool, as_json: bool, docs: bool) -> None:
    """Show the settings that something has set, and where. Secrets are masked."""
    if docs:
        click.echo(documentation())
        return
    conf = session.any_app().conf
    shown = [
        name
        for name in sorted(SETTINGS)
        if everything or not conf.source(name).startswith("default")
    ]
    if as_json:
        show_json({name: _described(conf, name) for name in shown})
    elif shown:
        show_table(
            ["setting", "value", "from"],
            [[name, repr(masked(name, conf[name])), conf.source(name)] for name in shown],
        )
    else:
        click.echo("all settings have their defaults: `taskq settings --all` shows them")


def _described(conf: Settings, name: str) -> dict[str, Any]:
    return {"value": masked(name, conf[name]), "source": conf.source(name)}


def documentation() -> str:
    """All settings in a Markdown table, made from their declarations."""
    lines = ["| setting | value | default | meaning |", "|---|---|---|---|"]
    lines += [_row(SETTINGS[name]) for name in sorted(SETTINGS)]
    return "\n".join(lines)


def _row(setting: Setting[Any]) -> str:
    cells = [f"`{setting.name}`", expected(setting), f"`{setting.default!r}`", setting.doc]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
