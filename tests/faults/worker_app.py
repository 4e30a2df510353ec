"""What workers under test are started with, as ``-A tests.faults.worker_app``.

The test says by the environment which tasks, which folder and which settings are its own.
"""

from __future__ import annotations

import json
import os
import threading
from importlib import import_module
from pathlib import Path

app = import_module(os.environ["STAGE_TASKS"]).make_app(
    Path(os.environ["STAGE_FOLDER"]), **json.loads(os.environ["STAGE_SETTINGS"])
)

if os.environ.get("STAGE_THREAD"):
    threading.Thread(target=threading.Event().wait, name="background", daemon=True).start()
if os.environ.get("STAGE_PUBLISH"):
    # Leaves a connection open that the worker's children inherit.
    app.send_task("note", ("at-import",))
