"""taskq's side: the app of the worker processes and of the tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from taskq import TaskQ, exceptions
from tests.interop.tasks import add_tasks


def make_app(folder: Path, **settings: Any) -> TaskQ:
    """The app.

    Args:
        folder: where tasks write.
        settings: of the app.
    """
    os.environ["INTEROP_FOLDER"] = str(folder)
    app = TaskQ("interop", set_as_current=False, celery_interop=True, **settings)
    if app.conf.security_key:
        app.setup_security()
    add_tasks(app, "taskq", exceptions)
    return app
