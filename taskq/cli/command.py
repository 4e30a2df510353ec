"""What every command is made of: the common options, and help that keeps them apart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import click

from taskq import __version__
from taskq.cli.session import Session

_FROM_APP = "taskq.options_of_the_app"
"""Where in a context of click's the options stand that the app has added."""


def _common_options() -> list[click.Option]:
    return [
        _option("-A", "--app", metavar="NAME", help="The app: module, module:app or package."),
        _option("-b", "--broker", metavar="URL", help="Setting broker_url."),
        _option("--result-backend", metavar="URL", help="Setting result_backend."),
        _option("--config", metavar="NAME", help="A module of settings, or a TOML file."),
        _option("--workdir", metavar="PATH", help="The folder to work in."),
        _option("-C", "--no-color", is_flag=True, help="No colours; NO_COLOR=1 does the same."),
        _option("-q", "--quiet", is_flag=True, help="Say only what was asked for."),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version and exit.",
        ),
    ]


def _option(*names: str, **options: Any) -> click.Option:
    return click.Option([*names], expose_value=False, callback=_remember, **options)


def _remember(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    """Note in the session what was given, wherever on the command line it stands."""
    session = ctx.ensure_object(Session)
    if option.name == "no_color" and (value or os.environ.get("NO_COLOR")):
        ctx.color = ctx.find_root().color = False
        session.change("worker_log_color", False, "--no-color")
    elif not value:
        return
    elif option.name == "app":
        session.app_spec = value
    elif option.name == "broker":
        session.change("broker_url", value, "--broker")
    elif option.name == "result_backend":
        session.change("result_backend", value, "--result-backend")
    else:
        setattr(session, str(option.name), value)


def _show_version(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"taskq {__version__}")
        ctx.exit()


class _WithCommonOptions(click.Command):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.common = _common_options()
        self.params = [*self.params, *self.common]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the command's own options first, then those that all commands share."""
        own = [param for param in self.get_params(ctx) if param not in self.common]
        for title, params in (("Options", own), ("Common options", self.common)):
            records = [r for param in params if (r := param.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class Command(_WithCommonOptions):
    """A command that takes the common options, and those that the app adds to it.

    The app is loaded before the command line is read only if that holds an option that nobody
    knows.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters, and the app's."""
        return [*super().get_params(ctx), *ctx.meta.get(_FROM_APP, ())]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line."""
        try:
            return super().parse_args(ctx, list(args))
        except click.NoSuchOption:
            session = ctx.ensure_object(Session)
            options = session.user_options(str(self.name), args)
            if not options:
                raise
            ctx.meta[_FROM_APP] = options
        rest = super().parse_args(ctx, list(args))
        for option in options:
            session.user_values[str(option.name)] = ctx.params.pop(str(option.name), None)
        return rest


class Group(_WithCommonOptions, click.Group):
    """A group of commands, each of which takes the common options; unknown ones get a hint."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            near = " or ".join(_near(name, self.list_commands(ctx)))
            raise click.UsageError(
                f"there is no command {name!r}" + (f": did you mean {near}?" if near else ""), ctx
            )
        return super().resolve_command(ctx, args)


def _near(name: str, names: list[str]) -> Iterator[str]:
    # difflib is imported here since only mistakes need it.
    from difflib import get_close_matches

    yield from map(repr, get_close_matches(name.lower(), names, n=2))
