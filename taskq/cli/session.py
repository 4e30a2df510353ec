"""What all commands share: which app, with which settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from taskq import signals
from taskq.app import TaskQ
from taskq.cli.failure import Misuse, user_code
from taskq.discovery import find_app

APP_VARIABLE = "TASKQ_APP"
"""The environment variable that stands for ``-A``."""


@dataclass
class Session:
    """The options that every command takes, before or after its name.

    Attributes:
        app_spec: the app, as ``-A`` names it.
        config: a module or TOML file of settings.
        workdir: the folder to work in.
        quiet: say only what was asked for.
        include: modules to import besides those of the settings.
        changes: settings that options have changed: value and option by name.
        user_values: what was given for options that the app has added.
        detached: it runs in the background.
        given: the app itself, where a program and not a shell gives the command.
    """

    app_spec: str | None = None
    config: str | None = None
    workdir: str | None = None
    quiet: bool = False
    include: tuple[str, ...] = ()
    changes: dict[str, tuple[Any, str]] = field(default_factory=dict)
    user_values: dict[str, Any] = field(default_factory=dict)
    detached: bool = False
    given: TaskQ | None = None

    def change(self, name: str, value: Any, option: str) -> None:
        """Have the app use this setting; None leaves it as it is."""
        if value is not None:
            self.changes[name] = value, option

    def app(self) -> TaskQ:
        """The app that ``-A`` names, with its tasks.

        Raises:
            Misuse: there is none, or one of its modules cannot be imported.
        """
        if self.given is not None:
            self._apply(self.given)
            self.given.load_modules()
            self._tell_user_options(self.given)
            return self.given
        app_spec = self.app_spec or os.environ.get(APP_VARIABLE)
        if not app_spec:
            raise Misuse(
                "which app? Name the module that holds it: -A proj or -A proj:app, or set the "
                f"environment variable {APP_VARIABLE}"
            )
        self.app_spec = app_spec
        self._enter()
        with user_code(f"-A {app_spec}"):
            app: TaskQ = find_app(app_spec)
            self._apply(app)
            app.load_modules()
        click.get_current_context().call_on_close(app.close)
        self._tell_user_options(app)
        return app

    def user_options(self, command: str, arguments: Sequence[str]) -> list[click.Option]:
        """The options that the app adds to a command; none if no app is named.

        Args:
            command: its name.
            arguments: what follows it on the command line, and may hold ``-A``.

        Raises:
            Misuse: the app cannot be imported.
        """
        app = self.given
        spec = self.app_spec or _app_in(arguments) or os.environ.get(APP_VARIABLE)
        if app is None and spec:
            self._enter()
            with user_code(f"-A {spec}"):
                app = find_app(spec)
        return _added_options(app, command) if app is not None else []

    def _tell_user_options(self, app: TaskQ) -> None:
        """Tell the app what was given for its options."""
        if not signals.user_preload_options.receivers:
            return
        ctx = click.get_current_context()
        values = {
            str(option.name): option.get_default(ctx)
            for option in _added_options(app, str(ctx.command.name))
        }
        signals.user_preload_options.send(app, app=app, options={**values, **self.user_values})

    def any_app(self) -> TaskQ:
        """The app that ``-A`` names; without one, an app with no tasks.

        Raises:
            Misuse: as `app`.
        """
        if self.given is not None or self.app_spec or os.environ.get(APP_VARIABLE):
            return self.app()
        self._enter()
        with user_code("--config"):
            app = TaskQ("taskq")
            self._apply(app)
        click.get_current_context().call_on_close(app.close)
        return app

    def connected_app(self) -> TaskQ:
        """`any_app`, for commands that talk to its broker.

        Raises:
            Misuse: as `app`; or nothing says which broker is meant, or it is out of reach.
        """
        app = self.any_app()
        if not self.app_spec and app.conf.source("broker_url").startswith("default"):
            # Otherwise a mistake would leave an empty database in the working folder.
            raise Misuse("which broker? Name an app (-A proj) or a URL (-b sqlite:///taskq.db)")
        if app.conf.broker_url.startswith("memory:"):
            raise Misuse(
                f"broker_url={app.conf.broker_url!r} lives within one process, where no command "
                "sees it: use sqlite:///taskq.db, for example with -b"
            )
        return app

    def overrides(self, app: TaskQ) -> dict[str, str]:
        """The changed settings as text, for processes that load the app for themselves."""
        texts = {name: str(value) for name, (value, _) in self.changes.items()}
        if self.include:
            texts["include"] = ",".join(app.conf.include)
        return texts

    def _enter(self) -> None:
        if self.workdir:
            try:
                os.chdir(self.workdir)
            except OSError as exc:
                raise Misuse(f"--workdir {self.workdir}: {exc.strerror}") from exc
        try:
            here = os.getcwd()
        except FileNotFoundError as exc:
            raise Misuse("the working folder has been deleted: go to one that exists") from exc
        if here not in sys.path:
            sys.path.insert(0, here)
        if self.config:
            # Apps that say nothing of their own read it when they are made, in children too.
            os.environ["TASKQ_CONFIG_MODULE"] = self.config

    def _apply(self, app: TaskQ) -> None:
        if self.config:
            app.config_from_object(self.config)
        for name, (value, option) in self.changes.items():
            app.conf.update({name: value}, source=option)
        if self.include:
            app.conf.update({"include": (*app.conf.include, *self.include)}, source="--include")
        if self.changes:
            # The app may have connected on import, to where its own settings point.
            app.close()


def _added_options(app: TaskQ, command: str) -> list[click.Option]:
    options = {*app.user_options["preload"], *app.user_options[command]}
    return sorted(options, key=lambda option: str(option.name))


def _app_in(arguments: Sequence[str]) -> str:
    """What a command line, which cannot be read yet, gives for ``-A``."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument in ("-A", "--app"):
            return following
        if argument.startswith("--app="):
            return argument.removeprefix("--app=")
    return ""


pass_session = click.make_pass_decorator(Session, ensure=True)
"""Gives a command the session as its first argument."""
