"""``taskq shell``: Python with the app at hand."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from taskq import __version__
from taskq.cli.command import Command
from taskq.cli.failure import Misuse
from taskq.cli.session import Session, pass_session

if TYPE_CHECKING:
    from taskq.app import TaskQ

_CANVAS = ("chain", "chord", "chunks", "group", "signature", "xmap", "xstarmap")

_BUILTIN = ("celery.", "taskq.")
"""How the names of tasks begin that are no app's own."""


@click.command("shell", cls=Command)
@click.option("-I", "--ipython", "kind", flag_value="ipython", help="IPython.")
@click.option("-B", "--bpython", "kind", flag_value="bpython", help="bpython.")
@click.option("--python", "kind", flag_value="python", help="Python's own.")
@click.option("-T", "--without-tasks", is_flag=True, help="Leave out the names of the tasks.")
@pass_session
def shell(session: Session, /, kind: str | None, without_tasks: bool) -> None:
    """Open a Python shell with the app, its tasks and the canvas.

    Without an option it is the first that is installed of IPython, bpython and Python's own.
    """
    app = session.app()
    names = namespace(app, not without_tasks)
    kind = kind or next((k for k, (module, _) in _SHELLS.items() if find_spec(module)), "python")
    module, start = _SHELLS[kind]
    if find_spec(module) is None:
        raise Misuse(f"--{kind}: it is not installed; try pip install {kind}")
    start(names, "" if session.quiet else _greeting(app, names))


def namespace(app: TaskQ, with_tasks: bool) -> dict[str, Any]:
    """What the shell knows by name.

    Args:
        app: the app.
        with_tasks: its tasks as well, by the last part of their names.
    """
    import taskq

    names: dict[str, Any] = {name: getattr(taskq, name) for name in _CANVAS}
    if with_tasks:
        for name, task in sorted(app.tasks.items()):
            short = name.rpartition(".")[2]
            if not name.startswith(_BUILTIN) and short.isidentifier():
                names[short] = task
    return {**names, "app": app, "AsyncResult": app.AsyncResult}


def _greeting(app: TaskQ, names: dict[str, Any]) -> str:
    return f"taskq {__version__}, app {app.main or '?'}. Names: {', '.join(sorted(names))}"


def _start_python(names: dict[str, Any], greeting: str) -> None:
    import code

    try:
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    except ImportError:
        pass  # a Python that was built without it
    code.interact(banner=greeting, local=names, exitmsg="")


def _start_ipython(names: dict[str, Any], greeting: str) -> None:
    from IPython import start_ipython  # type: ignore[import-not-found,unused-ignore]

    click.echo(greeting)
    start_ipython(argv=[], user_ns=names)


def _start_bpython(names: dict[str, Any], greeting: str) -> None:
    from bpython import embed  # type: ignore[import-not-found,unused-ignore]

    embed(names, banner=greeting)


_SHELLS: dict[str, tuple[str, Callable[[dict[str, Any], str], None]]] = {
    "ipython": ("IPython", _start_ipython),
    "bpython": ("bpython", _start_bpython),
    "python": ("code", _start_python),
}
"""By option: the module that it needs, and what starts it."""
