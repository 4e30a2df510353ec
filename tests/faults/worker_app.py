"""What the workers of the fault tests are started with, as ``-A tests.faults.worker_app``.

The test says by the environment which folder and which settings are its own.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from tests.faults.tasks import make_app

app = make_app(
    Path(os.environ["FAULTS_FOLDER"]), **json.loads(os.environ.get("FAULTS_SETTINGS", "{}"))
)

if os.environ.get("FAULTS_THREAD"):
    threading.Thread(target=threading.Event().wait, name="background", daemon=True).start()
if os.environ.get("FAULTS_PUBLISH"):
    # Leaves a connection open that the worker's children inherit.
    app.send_task("note", ("at-import",))
