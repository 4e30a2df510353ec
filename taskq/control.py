"""Steering workers and tasks from outside."""

from __future__ import annotations

from collections.abc import Iterable
from signal import Signals
from typing import TYPE_CHECKING

from taskq.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from taskq.app import TaskQ


class Control:
    """What `TaskQ.control` offers.

    Args:
        app: whose workers.
    """

    def __init__(self, app: TaskQ) -> None:
        self._app = app

    def revoke(
        self,
        task_id: str | Iterable[str],
        terminate: bool = False,
        signal: str = "SIGTERM",
    ) -> None:
        """Let no worker run a task, wherever its message is, and whoever starts later.

        It is remembered for ``worker_revoke_expires`` seconds.  A task that already runs goes
        on unless `terminate` is true.

        Args:
            task_id: its id, or several.
            terminate: end it if it runs: the process that runs it is killed and replaced.
            signal: accepted for Celery's sake; the process is ended in any case.

        Raises:
            ImproperlyConfigured: the broker cannot revoke, or there is no such signal.
            OperationalError: the broker cannot be reached.
        """
        if signal not in Signals.__members__ and f"SIG{signal}" not in Signals.__members__:
            raise ImproperlyConfigured(f"there is no signal {signal!r}: SIGTERM is one")
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        expires = self._app.conf.worker_revoke_expires
        self._app.broker.revoke(ids, expires, signal if terminate else "")

    def terminate(self, task_id: str | Iterable[str], signal: str = "SIGTERM") -> None:
        """`revoke` with ``terminate=True``."""
        self.revoke(task_id, terminate=True, signal=signal)

    # Queues

    def pause(self, queue: str) -> None:
        """Let no worker start anything of a queue until `resume`; kept across restarts.

        Tasks that run already go on, and what a worker holds unstarted goes back.

        Raises:
            ImproperlyConfigured: the broker cannot pause queues.
            OperationalError: the broker cannot be reached.
        """
        self._app.broker.pause(queue)

    def resume(self, queue: str) -> None:
        """Let workers go on with a queue; one that is not paused stays as it is."""
        self._app.broker.resume(queue)
