from __future__ import annotations

from django.db import models


class Order(models.Model):
    """Something for tasks to read and write."""

    name: models.CharField[str, str] = models.CharField(max_length=100)
    done: models.BooleanField[bool, bool] = models.BooleanField(default=False)
