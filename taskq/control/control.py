"""Steering workers and tasks from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from signal import Signals
from typing import Any

from taskq.control.broadcasting import Broadcaster, Reply
from taskq.control.inspect import Inspect
from taskq.control.stamps import stamp_keys
from taskq.exceptions import ImproperlyConfigured, OperationalError


class Control(Broadcaster):
    """What `TaskQ.control` offers.

    Commands that take ``**options`` hand these to `broadcast`: with ``reply=True`` they wait
    for the workers' answers and return them.

    Args:
        app: whose workers.
    """

    # Looking

    @property
    def inspect(self) -> Callable[..., Inspect]:
        """Makes an `Inspect`: ``app.control.inspect(destination=..., timeout=...)``."""

        def inspect(*args: Any, **options: Any) -> Inspect:
            return Inspect(self, *args, **options)

        return inspect

    def ping(
        self,
        destination: str | Sequence[str] | None = None,
        timeout: float | None = 1.0,
        **options: Any,
    ) -> list[Reply]:
        """Ask who is there; each answer is ``{"ok": "pong"}``."""
        return self._replies("ping", {}, destination=destination, timeout=timeout, **options)

    def _replies(self, command: str, arguments: Mapping[str, Any], **options: Any) -> list[Reply]:
        return self.broadcast(command, arguments, **{**options, "reply": True}) or []

    # Tasks

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: str | Sequence[str] | None = None,
        terminate: bool = False,
        signal: str = "SIGTERM",
        **options: Any,
    ) -> list[Reply] | None:
        """Let no worker run a task, wherever its message is, and whoever starts later.

        It is remembered for ``worker_revoke_expires`` seconds.  A task that already runs goes
        on unless `terminate` is true.

        Args:
            task_id: its id, or several.
            destination: accepted for Celery's sake; all workers obey.
            terminate: end it if it runs: the process that runs it is killed and replaced.
            signal: accepted for Celery's sake; the process is ended in any case.
            options: of `broadcast`, if workers' answers are wanted.

        Raises:
            ImproperlyConfigured: the broker cannot revoke, or there is no such signal.
            OperationalError: the broker cannot be reached.
        """
        _check_signal(signal)
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        self._revoke(ids, signal if terminate else "")
        if options.get("reply") or self._app.conf.celery_interop:
            arguments = {"task_id": ids, "terminate": terminate, "signal": signal}
            return self.broadcast("revoke", arguments, destination, **options)
        return None

    def _revoke(self, keys: Sequence[str], signal: str) -> None:
        self._app.broker.revoke(keys, self._app.conf.worker_revoke_expires, signal)

    def terminate(
        self,
        task_id: str | Iterable[str],
        destination: str | Sequence[str] | None = None,
        signal: str = "SIGTERM",
        **options: Any,
    ) -> list[Reply] | None:
        """`revoke` with ``terminate=True``."""
        return self.revoke(task_id, destination, terminate=True, signal=signal, **options)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, str | Iterable[str]],
        destination: str | Sequence[str] | None = None,
        terminate: bool = False,
        signal: str = "SIGTERM",
        **options: Any,
    ) -> list[Reply] | None:
        """Let no worker run tasks that bear one of these stamps; see `revoke`.

        Args:
            headers: the values of stamps, by their names.
            destination: accepted for Celery's sake; all workers obey.
            terminate: end those that run.
            signal: as for `revoke`.
            options: of `broadcast`, if workers' answers are wanted.
        """
        _check_signal(signal)
        self._revoke(stamp_keys(headers), signal if terminate else "")
        if options.get("reply") or self._app.conf.celery_interop:
            plain = {k: v if isinstance(v, str) else list(v) for k, v in headers.items()}
            arguments = {"headers": plain, "terminate": terminate, "signal": signal}
            return self.broadcast("revoke_by_stamped_headers", arguments, destination, **options)
        return None

    def rate_limit(
        self,
        task_name: str,
        rate_limit: str | float | None,
        destination: str | Sequence[str] | None = None,
        **options: Any,
    ) -> list[Reply] | None:
        """Change a task's rate limit in running workers.

        Args:
            task_name: the task.
            rate_limit: tasks in a second, or text such as ``100/m``; 0 or None is no limit.
            destination: which workers; all by default.
            options: of `broadcast`.
        """
        arguments = {"task_name": task_name, "rate_limit": rate_limit}
        return self.broadcast("rate_limit", arguments, destination, **options)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: str | Sequence[str] | None = None,
        **options: Any,
    ) -> list[Reply] | None:
        """Change a task's time limits in running workers, for runs that begin later.

        Args:
            task_name: the task.
            soft: its soft limit in seconds.
            hard: its hard limit in seconds.
            destination: which workers; all by default.
            options: of `broadcast`.
        """
        arguments = {"task_name": task_name, "soft": soft, "hard": hard}
        return self.broadcast("time_limit", arguments, destination, **options)

    # Queues

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        destination: str | Sequence[str] | None = None,
        **more: Any,
    ) -> list[Reply] | None:
        """Let running workers consume one more queue.

        Args:
            queue: its name.
            exchange: what to bind it to, where the settings do not say so.
            exchange_type: of that exchange.
            routing_key: of that binding.
            options: more options of the queue.
            destination: which workers; all by default.
            more: options of `broadcast`.
        """
        arguments = {
            "queue": queue,
            "exchange": exchange,
            "exchange_type": exchange_type,
            "routing_key": routing_key,
            **(options or {}),
        }
        return self.broadcast("add_consumer", arguments, destination, **more)

    def cancel_consumer(
        self, queue: str, destination: str | Sequence[str] | None = None, **options: Any
    ) -> list[Reply] | None:
        """Let running workers consume a queue no more."""
        return self.broadcast("cancel_consumer", {"queue": queue}, destination, **options)

    def pause(self, queue: str) -> None:
        """Let no worker start anything of a queue until `resume`; kept across restarts.

        Tasks that run already go on, and what a worker holds unstarted goes back.

        Raises:
            ImproperlyConfigured: the broker cannot pause queues.
            OperationalError: the broker cannot be reached.
        """
        self._app.broker.pause(queue)
        self._hint("look_at_pauses")

    def resume(self, queue: str) -> None:
        """Let workers go on with a queue; one that is not paused stays as it is."""
        self._app.broker.resume(queue)
        self._hint("look_at_pauses")

    def _hint(self, command: str) -> None:
        """Spare workers a poll, if that can be done."""
        try:
            self.broadcast(command)
        except (ImproperlyConfigured, OperationalError):
            pass

    def purge(self) -> int:
        """Delete what waits in the app's queues.

        Returns:
            How many messages were deleted.
        """
        return sum(self._app.broker.purge(queue.name) for queue in self._app.queues())

    discard_all = purge

    # Events

    def enable_events(
        self, destination: str | Sequence[str] | None = None, **options: Any
    ) -> list[Reply] | None:
        """Let workers send events."""
        return self.broadcast("enable_events", {}, destination, **options)

    def disable_events(
        self, destination: str | Sequence[str] | None = None, **options: Any
    ) -> list[Reply] | None:
        """Let workers send no events."""
        return self.broadcast("disable_events", {}, destination, **options)

    def heartbeat(
        self, destination: str | Sequence[str] | None = None, **options: Any
    ) -> list[Reply] | None:
        """Let workers that send events send a heartbeat now."""
        return self.broadcast("heartbeat", {}, destination, **options)

    # The pool, and the worker

    def pool_grow(
        self, n: int = 1, destination: str | Sequence[str] | None = None, **options: Any
    ) -> list[Reply] | None:
        """Let workers run `n` more tasks at a time."""
        return self.broadcast("pool_grow", {"n": n}, destination, **options)

    def pool_shrink(
        self, n: int = 1, destination: str | Sequence[str] | None = None, **options: Any
    ) -> list[Reply] | None:
        """Let workers run `n` fewer tasks at a time."""
        return self.broadcast("pool_shrink", {"n": n}, destination, **options)

    def pool_restart(
        self,
        modules: Sequence[str] | None = None,
        reload: bool = False,
        reloader: Any = None,
        destination: str | Sequence[str] | None = None,
        **options: Any,
    ) -> list[Reply] | None:
        """Replace the workers' processes, each when what it runs has ended.

        Args:
            modules: refused by workers: their processes are copies of one that has the app.
            reload: likewise.
            reloader: accepted for Celery's sake.
            destination: which workers; all by default.
            options: of `broadcast`.
        """
        arguments = {"modules": modules, "reload": reload}
        return self.broadcast("pool_restart", arguments, destination, **options)

    def autoscale(
        self,
        max: int,
        min: int,
        destination: str | Sequence[str] | None = None,
        **options: Any,
    ) -> list[Reply] | None:
        """Change between which limits workers scale themselves."""
        return self.broadcast("autoscale", {"max": max, "min": min}, destination, **options)

    def shutdown(
        self, destination: str | Sequence[str] | None = None, **options: Any
    ) -> list[Reply] | None:
        """Stop workers, after what runs has ended."""
        return self.broadcast("shutdown", {}, destination, **options)


def _check_signal(signal: str) -> None:
    if signal not in Signals.__members__ and f"SIG{signal}" not in Signals.__members__:
        raise ImproperlyConfigured(f"there is no signal {signal!r}: SIGTERM is one")
