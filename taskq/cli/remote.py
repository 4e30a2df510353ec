"""``taskq inspect``, ``control`` and ``status``: asking and steering running workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from taskq.cli.command import Command
from taskq.cli.failure import Failure, Misuse
from taskq.cli.output import amount, show_json, to_json
from taskq.cli.session import Session, pass_session
from taskq.cli.types import names, seconds
from taskq.control.commands import CommandInfo, Kind, known_commands

if TYPE_CHECKING:
    from taskq.app import TaskQ

Answers = dict[str, Any]

_HIDDEN = {"hello", "look_at_pauses"}
"""Commands that workers and programs give each other."""
_WIDTH = 32


class NobodyAnswers(Failure):
    """No worker has answered in time; the status is Celery's, EX_UNAVAILABLE of sysexits(3)."""

    exit_code = 69


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that all three have."""
    for option in (
        click.option("-j", "--json", "as_json", is_flag=True, help="As JSON, by worker."),
        click.option("--matcher", metavar="KIND", help="How to read it: glob or pcre."),
        click.option("--pattern", metavar="PATTERN", help="Workers whose names match."),
        click.option(
            *("-d", "--destination"), type=names, metavar="A,B", help="Workers, by their names."
        ),
        click.option(
            *("-t", "--timeout"), type=seconds, metavar="SECONDS", help="To wait for answers: 1."
        ),
    ):
        command = option(command)
    return command


def _commands_help(kind: Kind) -> str:
    lines = []
    for info in _of_kind(kind).values():
        if info.name not in _HIDDEN:
            call = _call(info)
            lines.append(f"{call:<{_WIDTH}}  {info.help}" if len(call) <= _WIDTH else call)
            if len(call) > _WIDTH:
                lines.append(f"{'':<{_WIDTH}}  {info.help}")
    return "\n".join(line.rstrip() for line in lines)


def _of_kind(kind: Kind) -> dict[str, CommandInfo]:
    return {name: info for name, info in sorted(known_commands().items()) if info.kind == kind}


def _call(info: CommandInfo) -> str:
    return f"{info.name} {info.usage()}".rstrip()


@click.command("inspect", cls=Command)
@click.argument("command", required=False)
@click.argument("arguments", nargs=-1, metavar="[ARGUMENT]...")
@click.option("-l", "--list", "show_list", is_flag=True, help="List the commands.")
@_options
@pass_session
def inspect(session: Session, /, **options: Any) -> None:
    """Ask running workers; `--list` shows what can be asked.

    The status is 69 if nobody answers, and 1 if one answers with an error.
    """
    _run(session, "inspect", **options)


@click.command("control", cls=Command)
@click.argument("command", required=False)
@click.argument("arguments", nargs=-1, metavar="[ARGUMENT]...")
@click.option("-l", "--list", "show_list", is_flag=True, help="List the commands.")
@_options
@pass_session
def control(session: Session, /, **options: Any) -> None:
    """Steer running workers; `--list` shows the commands.

    The status is 69 if nobody answers, and 1 if one answers with an error.
    """
    _run(session, "control", **options)


@click.command("status", cls=Command)
@_options
@pass_session
def status(session: Session, /, as_json: bool, timeout: float | None, **who: Any) -> None:
    """Show which workers are there.

    The status is 69 if nobody answers.
    """
    app = session.connected_app()
    answers = _ask(app, "ping", {}, timeout or 1.0, **who)
    if as_json:
        show_json(answers)
        return
    for name in sorted(answers):
        click.echo(f"{name}: {click.style('OK', fg='green')}")
    _show_count(session, answers)


def _run(
    session: Session,
    kind: Kind,
    command: str | None,
    arguments: tuple[str, ...],
    show_list: bool,
    as_json: bool,
    timeout: float | None,
    **who: Any,
) -> None:
    if show_list or command is None:
        if not show_list:
            raise Misuse(f"which command? See `taskq {kind} --list`")
        if session.given is not None or session.app_spec:
            session.app()  # its own commands are listed as well
        click.echo(_commands_help(kind))
        return
    app = session.connected_app()
    info = _find(kind, command)
    values = read_arguments(info, arguments)
    answers = _ask(app, info.name, values, timeout or info.timeout, **who)
    if as_json:
        show_json(answers)
    else:
        for name, answer in sorted(answers.items()):
            _show(name, answer)
        _show_count(session, answers)
    if any(map(_failed, answers.values())):
        click.get_current_context().exit(1)


def _find(kind: Kind, name: str) -> CommandInfo:
    """The command of that name.

    Raises:
        Misuse: there is none, or it is of the other kind.
    """
    # difflib is imported here since only mistakes need it.
    from difflib import get_close_matches

    known = known_commands()
    by_name = {alias: info for info in known.values() for alias in (info.name, *info.aliases)}
    info = by_name.get(name)
    if info is None:
        near = get_close_matches(name, _of_kind(kind), n=2)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise Misuse(f"there is no command {name!r}: {hint}See `taskq {kind} --list`")
    if info.kind != kind:
        raise Misuse(f"{name} is a command of `taskq {info.kind}`")
    return info


def read_arguments(info: CommandInfo, words: Sequence[str]) -> dict[str, Any]:
    """The arguments of a command from what a command line says.

    Raises:
        Misuse: there are too many or too few, or one is of another type.
    """
    fixed, rest = words[: len(info.arguments)], list(words[len(info.arguments) :])
    if rest and info.variadic is None:
        raise Misuse(
            f"{info.name} takes {amount(len(info.arguments), 'argument')}, not {len(words)}: "
            f"{_call(info)}"
        )
    values = {
        name: _value(info, name, type_, word)
        for (name, type_), word in zip(info.arguments, fixed, strict=False)
    }
    if info.variadic is not None:
        if info.needs_one and not rest:
            raise Misuse(f"{info.name} needs one {info.variadic} at least: {_call(info)}")
        values[info.variadic] = rest
    return values


def _value(info: CommandInfo, name: str, type_: type, word: str) -> Any:
    try:
        if type_ is bool:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
                word.lower()
            ]
        return type_(word)
    except (ValueError, KeyError):
        raise Misuse(f"{info.name}: {name}={word!r} is no {type_.__name__}") from None


def _ask(
    app: TaskQ,
    command: str,
    arguments: Mapping[str, Any],
    timeout: float,
    destination: tuple[str, ...] | None,
    pattern: str | None,
    matcher: str | None,
) -> Answers:
    """The workers' answers by their names.

    Raises:
        NobodyAnswers: nobody has answered in time.
    """
    replies = app.control.broadcast(
        command,
        arguments,
        destination,
        reply=True,
        timeout=timeout,
        pattern=pattern,
        matcher=matcher,
    )
    if not replies:
        raise NobodyAnswers(f"no worker has answered within {timeout:g} s")
    return {name: answer for reply in replies for name, answer in reply.items()}


def _show(name: str, answer: Any) -> None:
    """One worker's answer, for people."""
    mark = click.style("ERROR", fg="red") if _failed(answer) else click.style("OK", fg="green")
    click.echo(f"-> {name}: {mark}")
    if isinstance(answer, dict) and len(answer) == 1 and answer.keys() <= {"ok", "error"}:
        (answer,) = answer.values()
    for line in _lines(answer):
        click.echo(f"   {line}")


def _failed(answer: Any) -> bool:
    return isinstance(answer, dict) and answer.keys() == {"error"}


def _lines(answer: Any) -> list[str]:
    if isinstance(answer, str):
        return answer.splitlines()
    if isinstance(answer, list):
        return [
            f"* {item if isinstance(item, str) else to_json(item, None)}" for item in answer
        ] or ["- empty -"]
    return to_json(answer).splitlines()


def _show_count(session: Session, answers: Answers) -> None:
    if not session.quiet:
        count = len(answers)
        click.echo(f"\n{count} node{'' if count == 1 else 's'} online.")
