"""Tasks of Django's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING or django.VERSION >= (6, 0):
    from django.tasks import TaskContext, task
else:
    from django_tasks import TaskContext, task

ATTEMPTS: list[Any] = []


@task
def add(x: int, y: int = 0) -> int:
    return x + y


@task(priority=50, queue_name="slow")
async def shout(text: str) -> str:
    return text.upper()


@task(takes_context=True)
def who(context: TaskContext, extra: str) -> list[Any]:
    result = context.task_result
    return [result.id, context.attempt, result.status, extra]


@task(takes_context=True)
async def awho(context: TaskContext) -> list[Any]:
    return [context.task_result.id, context.attempt]


@task
def fail(text: str) -> None:
    raise KeyError(text)


@task
def returns_an_object() -> object:
    return object()


@task
def flip_twice(values: list[Any]) -> tuple[Any, ...]:
    return tuple(reversed(values))
