"""Help for the tests of programs that use taskq."""

from taskq.testing.apps import in_memory, make_app
from taskq.testing.draining import Ran, adrain, drain
from taskq.testing.enqueued import Enqueued, assert_enqueued, assert_not_enqueued, enqueued
from taskq.testing.worker import RunningWorker, start_worker

__all__ = [
    "Enqueued",
    "Ran",
    "RunningWorker",
    "adrain",
    "assert_enqueued",
    "assert_not_enqueued",
    "drain",
    "enqueued",
    "in_memory",
    "make_app",
    "start_worker",
]
