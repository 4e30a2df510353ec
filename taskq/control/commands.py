"""The commands that there are: their names, what they want to know, and one's own.

What taskq's own commands do stands in `taskq.worker.control`; here is what whoever gives
them must know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, overload

import msgspec

from taskq import context

Kind = Literal["inspect", "control"]
Handler = Callable[..., Any]
"""Takes a `WorkerState` and the command's arguments; may be a coroutine function."""
F = TypeVar("F", bound=Handler)


class CommandInfo(msgspec.Struct, frozen=True):
    """What a command is called, and how.

    Attributes:
        name: its name.
        kind: whether it only looks (``inspect``) or changes something (``control``).
        help: what it does, in one line.
        arguments: the names and types of what a command line gives one after the other.
        variadic: the name of the argument that takes all that follows these.
        signature: how help shows the arguments; made from `arguments` if empty.
        aliases: other names.
        timeout: seconds that whoever asks should wait, where nothing else is said.
        needs_one: the command line must give `variadic` something.
    """

    name: str
    kind: Kind
    help: str = ""
    arguments: tuple[tuple[str, type], ...] = ()
    variadic: str | None = None
    signature: str = ""
    aliases: tuple[str, ...] = ()
    timeout: float = 1.0
    needs_one: bool = False

    def usage(self) -> str:
        """The arguments, as help shows them."""
        if self.signature:
            return self.signature
        words = [f"<{name}>" for name, _ in self.arguments]
        if self.variadic:
            words.append(f"<{self.variadic}> ..." if self.needs_one else f"[{self.variadic} ...]")
        return " ".join(words)


def _inspect(name: str, help: str, **more: Any) -> CommandInfo:
    return CommandInfo(name, "inspect", help, **more)


def _control(name: str, help: str, **more: Any) -> CommandInfo:
    return CommandInfo(name, "control", help, **more)


BUILT_IN = {
    info.name: info
    for info in (
        _inspect("active", "Tasks that run now.", aliases=("dump_active",)),
        _inspect("active_queues", "The queues that are consumed."),
        _inspect("clock", "The worker's logical clock."),
        _inspect(
            "conf",
            "The settings that differ from the defaults; with true, all.",
            arguments=(("with_defaults", bool),),
            signature="[with_defaults]",
            aliases=("dump_conf",),
        ),
        _inspect("hello", "What a worker of Celery asks its neighbours when it starts."),
        _inspect(
            "memdump",
            "Memory of the worker and its processes.",
            arguments=(("samples", int),),
            signature="[samples]",
        ),
        _inspect("ping", "Whether it is there."),
        _inspect("query_task", "What is known of tasks, by id.", variadic="ids"),
        _inspect(
            "registered",
            "The tasks that it knows, with these of their attributes.",
            variadic="taskinfoitems",
            aliases=("dump_tasks",),
        ),
        _inspect("report", "Software, platform and settings."),
        _inspect(
            "reserved", "Tasks that it holds and has not started.", aliases=("dump_reserved",)
        ),
        _inspect("revoked", "The ids of revoked tasks.", aliases=("dump_revoked",)),
        _inspect(
            "scheduled", "Tasks of its queues that are not due yet.", aliases=("dump_schedule",)
        ),
        _inspect("stats", "Counters, pool, broker and resources."),
        _control(
            "add_consumer",
            "Consume one more queue.",
            arguments=(
                *(("queue", str), ("exchange", str)),
                *(("exchange_type", str), ("routing_key", str)),
            ),
            signature="<queue> [exchange [exchange_type [routing_key]]]",
        ),
        _control("cancel_consumer", "Consume a queue no more.", arguments=(("queue", str),)),
        _control(
            "autoscale",
            "Change the limits of autoscaling.",
            arguments=(("max", int), ("min", int)),
            signature="[max [min]]",
        ),
        _control("disable_events", "Tell no events."),
        _control("enable_events", "Tell events, for monitors."),
        _control("heartbeat", "Tell at once that it is there, if it tells events."),
        _control("look_at_pauses", "See which queues are paused."),
        _control(
            "pool_grow", "Run more tasks at a time.", arguments=(("n", int),), signature="[n]"
        ),
        _control("pool_restart", "Replace all processes, each when its task has ended."),
        _control(
            "pool_shrink", "Run fewer tasks at a time.", arguments=(("n", int),), signature="[n]"
        ),
        _control(
            "rate_limit",
            "Change a task's rate limit, such as 100/m.",
            arguments=(("task_name", str), ("rate_limit", str)),
        ),
        _control("revoke", "Let nobody run these tasks.", variadic="task_id", needs_one=True),
        _control(
            "revoke_by_stamped_headers",
            "Let nobody run tasks with one of these stamps.",
            variadic="headers",
            signature="<name=value> ...",
            needs_one=True,
        ),
        _control("shutdown", "Stop, after what runs has ended."),
        _control(
            "terminate",
            "End these tasks, also if they run.",
            arguments=(("signal", str),),
            variadic="task_id",
            needs_one=True,
        ),
        _control(
            "time_limit",
            "Change a task's time limits, in seconds.",
            arguments=(("task_name", str), ("soft", float), ("hard", float)),
            signature="<task_name> <soft> [hard]",
        ),
    )
}
"""taskq's own commands by name."""


def known_commands() -> dict[str, CommandInfo]:
    """All commands that this process knows of, one's own included."""
    return {**BUILT_IN, **{info.name: info for info, _ in context.commands()}}


@overload
def inspect_command(function: F, /) -> F: ...
@overload
def inspect_command(
    *,
    name: str | None = None,
    args: tuple[tuple[str, type], ...] | list[tuple[str, type]] = (),
    variadic: str | None = None,
    signature: str = "",
    help: str = "",
    alias: str | None = None,
    default_timeout: float = 1.0,
) -> Callable[[F], F]: ...


def inspect_command(function: Handler | None = None, /, **options: Any) -> Any:
    """Make a function a command that only looks: ``taskq inspect <name>``.

    The function runs in the worker's own process and not in those that run tasks: in a
    thread, or on its event loop if it is a coroutine function.  Its first argument is the
    `WorkerState`; what it returns is the reply.

    Args:
        function: the function.
        options: ``name`` (the function's by default), ``args`` (pairs of name and type, for
            the command line), ``variadic`` (the argument that takes the rest), ``signature``,
            ``help`` (the docstring's first line by default), ``alias`` and
            ``default_timeout`` in seconds.
    """
    return _register("inspect", function, options)


@overload
def control_command(function: F, /) -> F: ...
@overload
def control_command(
    *,
    name: str | None = None,
    args: tuple[tuple[str, type], ...] | list[tuple[str, type]] = (),
    variadic: str | None = None,
    signature: str = "",
    help: str = "",
    alias: str | None = None,
    default_timeout: float = 1.0,
) -> Callable[[F], F]: ...


def control_command(function: Handler | None = None, /, **options: Any) -> Any:
    """Make a function a command that changes something: ``taskq control <name>``.

    Everything else is as for `inspect_command`.
    """
    return _register("control", function, options)


def _register(kind: Kind, function: Handler | None, options: dict[str, Any]) -> Any:
    def register(function: F) -> F:
        doc = (function.__doc__ or "").strip().partition("\n")[0]
        alias = options.get("alias")
        info = CommandInfo(
            options.get("name") or function.__name__,
            kind,
            options.get("help") or doc,
            tuple((name, type_) for name, type_ in options.get("args") or ()),
            options.get("variadic"),
            options.get("signature") or "",
            (alias,) if alias else (),
            options.get("default_timeout") or 1.0,
        )
        context.add_command(info, function)
        return function

    return register if function is None else register(function)
