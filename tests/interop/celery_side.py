"""Celery's side: imported by Celery's own programs, in their own environment."""

from __future__ import annotations

import json
import os

import celery.exceptions
from celery import Celery

from tests.interop.tasks import add_tasks

app = Celery("interop")
app.conf.update(json.loads(os.environ["INTEROP_SETTINGS"]))
if app.conf.security_key:
    # Results and remote control are not signed.
    app.setup_security(allowed_serializers=["json"])
add_tasks(app, "celery", celery.exceptions)
