"""What ``TASKS`` names: ``{"BACKEND": "taskq.contrib.django.tasks.TaskqBackend"}``.

It is called like the modules in which tasks are looked for, and may be imported as one, also
where neither Django 6 nor the package django-tasks is there.
"""

from __future__ import annotations

from importlib.util import find_spec

import django

if django.VERSION >= (6, 0) or find_spec("django_tasks") is not None:
    from taskq.contrib.django.task_backend.backend import TaskqBackend

    __all__ = ["TaskqBackend"]
