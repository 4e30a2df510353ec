"""The result store that keeps nothing: ``disabled://``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from taskq.backends.base import Backend, Outcome
from taskq.exceptions import ImproperlyConfigured


class DisabledBackend(Backend):
    """Forgets what it is given, and refuses to be asked."""

    remembers = False

    def store(self, outcomes: Sequence[Outcome]) -> None:
        """Results are not wanted."""

    def fetch(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        _refuse()

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        _refuse()

    async def await_(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        _refuse()

    def forget(self, task_ids: Sequence[str]) -> None:
        """There is nothing to forget."""

    def cleanup(self) -> int:
        return 0


def _refuse() -> NoReturn:
    raise ImproperlyConfigured(
        "no results are kept (result_backend is disabled://): set result_backend, for example "
        "to sqlite:///taskq.db, to read them"
    )
