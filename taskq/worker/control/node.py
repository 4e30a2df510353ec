"""The worker's mailbox: reads commands, has them done, and replies.

It runs on the event loop of the worker's parent, which is never busy with tasks: an answer
does not wait for a process to be free.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from taskq import context
from taskq.control.commands import BUILT_IN, Handler
from taskq.control.mailbox import (
    Command,
    commands_channel,
    has_expired,
    read_command,
    reply_notice,
)
from taskq.exceptions import (
    DecodeError,
    ImproperlyConfigured,
    OperationalError,
    TaskQError,
    WorkerShutdown,
)
from taskq.worker.control import looking, steering

if TYPE_CHECKING:
    from taskq.brokers.notices import Notice
    from taskq.worker.control.state import WorkerState

logger = logging.getLogger("taskq.worker")

_LISTEN = 2.0
"""Seconds for which a worker that works already does not say so, until it can be asked."""
_PAUSE = 1.0
"""Seconds after which a broker that is away is asked again."""
_AT_ONCE = 32
"""Commands that may be under way; further ones are refused until one of them has ended."""


class Node:
    """Answers commands until it is cancelled.

    Args:
        state: the worker.
    """

    def __init__(self, state: WorkerState) -> None:
        self._state = state
        self._handlers = _handlers()
        self._under_way: set[asyncio.Task[None]] = set()
        self.listening = asyncio.Event()

    async def until_it_listens(self, serving: asyncio.Task[None]) -> None:
        """Whoever has read that a worker is ready can ask it something; a broker may be away.

        Args:
            serving: `serve`, as it runs.
        """
        listening = asyncio.create_task(self.listening.wait())
        await asyncio.wait(
            [listening, serving], timeout=_LISTEN, return_when=asyncio.FIRST_COMPLETED
        )
        listening.cancel()

    async def serve(self) -> None:
        """Listen, also after the broker was away."""
        away = False
        while True:
            try:
                await self._listen()
            except ImproperlyConfigured as exc:
                logger.info("no remote control: %s", exc)
                return
            except OperationalError as exc:
                # Fetching fails as well, and tells.
                logger.log(
                    logging.DEBUG if away else logging.INFO, "remote control is away: %s", exc
                )
                away = True
                await asyncio.sleep(_PAUSE)

    async def _listen(self) -> None:
        state = self._state
        channel = commands_channel(state.app.conf)
        name = f"{state.hostname}.{channel.name}"
        subscription = await state.app.broker.asubscribe(channel, name=name)
        try:
            self.listening.set()
            while True:
                for notice in await subscription.receive():
                    self._hear(notice)
        finally:
            await subscription.close()

    def _hear(self, notice: Notice) -> None:
        """Begin to do what a notice asks; whatever it is, the worker goes on."""
        try:
            self._state.app.clock.adjust(notice.headers.get("clock"))
            command = read_command(notice)
            if has_expired(notice) or not command.concerns(self._state.hostname):
                return
        except (DecodeError, ImproperlyConfigured) as exc:
            logger.warning("a command that cannot be read is left alone: %s", exc)
            return
        if len(self._under_way) >= _AT_ONCE:
            self._later(self._reply(command, {"error": "busy with other commands: try again"}))
        else:
            self._later(self._obey(command))

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _obey(self, command: Command) -> None:
        await self._reply(command, await self._answer(command))

    async def _answer(self, command: Command) -> Any:
        name, arguments = command.method, command.arguments or {}
        handler = self._handlers.get(name)
        if handler is None:
            logger.warning("there is no command %r, and it is left alone", name)
            return {"error": f"there is no command {name!r}: {', '.join(sorted(self._handlers))}"}
        try:
            inspect.signature(handler).bind(self._state, **arguments)
        except TypeError as exc:
            logger.warning("command %s with wrong arguments %r: %s", name, arguments, exc)
            return {"error": f"{name}: {exc}"}
        try:
            return await self._run(handler, arguments)
        except TaskQError as exc:
            logger.warning("command %s cannot be obeyed: %s", name, exc)
            return {"error": f"{name}: {exc}"}
        except WorkerShutdown:
            self._state.stop()
            return {"ok": "shutting down"}
        except (Exception, SystemExit, KeyboardInterrupt) as exc:
            # Also what would end the process: that is not for a command to do.
            logger.exception("command %s with arguments %r has failed", name, arguments)
            return {"error": repr(exc)}

    async def _run(self, handler: Handler, arguments: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(handler):
            return await handler(self._state, **arguments)
        if handler.__module__ in (looking.__name__, steering.__name__):
            return handler(self._state, **arguments)
        # A user's function may take its time, which must not be the event loop's.
        return await _in_thread(partial(handler, self._state, **arguments))

    async def _reply(self, command: Command, value: Any) -> None:
        if command.reply_to is None:
            return
        app = self._state.app
        try:
            notice = reply_notice(
                command.reply_to, self._state.hostname, value, command.ticket, app.clock.forward()
            )
            await app.broker.abroadcast([notice])
        except (OperationalError, ImproperlyConfigured) as exc:
            logger.info("the reply to %s cannot be sent: %s", command.method, exc)

    async def finish(self, timeout: float = 0.5) -> None:
        """Let what is under way end, its reply included."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=timeout)
        for task in list(self._under_way):
            task.cancel()


async def _in_thread(function: Callable[[], Any]) -> Any:
    """Run a user's function in a thread of its own.

    Not in those of `asyncio.to_thread`, which the worker needs for its own work and which
    keep the process from ending: this one is left behind if it hangs.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def resolve(value: Any, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(value)
        elif isinstance(error, Exception | SystemExit) and not isinstance(error, StopIteration):
            done.set_exception(error)
        else:
            done.set_exception(RuntimeError(repr(error)))

    def run() -> None:
        value, error = None, None
        try:
            value = function()
        except BaseException as exc:
            error = exc
        try:
            loop.call_soon_threadsafe(resolve, value, error)
        except RuntimeError:
            pass  # the worker has ended

    threading.Thread(target=run, name="taskq-command", daemon=True).start()
    return await done


def _handlers() -> dict[str, Callable[..., Any | Awaitable[Any]]]:
    """Commands by all their names; one's own before taskq's."""
    handlers: dict[str, Handler] = {}
    for info in BUILT_IN.values():
        function: Handler = getattr(looking, info.name, None) or getattr(steering, info.name)
        handlers.update(dict.fromkeys((info.name, *info.aliases), function))
    for info, function in context.commands():
        handlers.update(dict.fromkeys((info.name, *info.aliases), function))
    return handlers
