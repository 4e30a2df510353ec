"""What beats under test are started with, as ``-A tests.faults.beat_app``.

The test says by the environment which broker and which entries; and by how many seconds this
process's clock is wrong.
"""

from __future__ import annotations

import json
import os
import time

from taskq import TaskQ

if skew := float(os.environ.get("BEAT_SKEW", "0")):
    right_time = time.time
    time.time = lambda: right_time() + skew


def make_app(settings: dict[str, object]) -> TaskQ:
    """An app with a task ``note`` and these settings."""
    app = TaskQ("beats", set_as_current=False, **settings)

    @app.task(name="note")
    def note() -> None:
        """Nobody runs it: the test reads the queue."""

    return app


if "BEAT_SETTINGS" in os.environ:
    app = make_app(json.loads(os.environ["BEAT_SETTINGS"]))
