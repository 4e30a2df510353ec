"""Celery's side: imported by Celery's own programs, in their own environment."""

from __future__ import annotations

import json
import os

import celery.exceptions
from celery import Celery

from tests.interop.tasks import add_tasks

app = Celery("interop")
app.conf.update(json.loads(os.environ["INTEROP_SETTINGS"]))
add_tasks(app, "celery", celery.exceptions)
