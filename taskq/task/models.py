"""Tasks whose arguments and results are pydantic models: plain data on the way, models in the code.

As in Celery with ``pydantic=True``: what is annotated as a model is dumped by the caller and
validated by the worker, before the task's function is called.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

from taskq.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.task.task import Task

_PLAIN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class ModelCalls:
    """Turns the models among a task's arguments and results into plain data, and back.

    Args:
        task: the task, with its options ``pydantic_…``.
        app: its app, which validators find in their context.

    Raises:
        ImproperlyConfigured: pydantic is not installed.
    """

    def __init__(self, task: Task[..., Any], app: TaskQ) -> None:
        try:
            from pydantic import BaseModel
        except ImportError as exc:
            raise ImproperlyConfigured(
                f"task {task.name!r} has pydantic=True, and pydantic is not installed: "
                "pip install 'taskq[pydantic]'"
            ) from exc
        self._base = BaseModel
        self._signature = inspect.signature(task.run)
        self._models = self._find_models(task.run)
        self._strict = task.pydantic_strict
        self._context = {
            **(task.pydantic_context or {}),
            "taskq_app": app,
            "taskq_task_name": task.name,
            "celery_app": app,
            "celery_task_name": task.name,
        }
        self._dump = {"mode": "json", **(task.pydantic_dump_kwargs or {})}

    def _find_models(self, function: Callable[..., Any]) -> dict[str, Any]:
        """The model classes by the names of parameters; "return" for the result."""
        try:
            hints = typing.get_type_hints(function)
        except (NameError, AttributeError, TypeError):
            hints = {n: p.annotation for n, p in self._signature.parameters.items()}
            hints["return"] = self._signature.return_annotation
        plain = {name: _without_none(hint) for name, hint in hints.items()}
        return {
            name: hint
            for name, hint in plain.items()
            if isinstance(hint, type) and issubclass(hint, self._base)
        }

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as it is run: it gets models, and what it returns is plain data."""
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def arun(*args: Any, **kwargs: Any) -> Any:
                bound = self._validated(args, kwargs)
                return self.dump_result(await function(*bound.args, **bound.kwargs))

            return arun

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            bound = self._validated(args, kwargs)
            return self.dump_result(function(*bound.args, **bound.kwargs))

        return run

    def _validated(self, args: Any, kwargs: Any) -> inspect.BoundArguments:
        bound = self._signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if value is not None and name in self._models:
                bound.arguments[name] = self._validate(name, value)
        return bound

    def _validate(self, name: str, value: Any) -> Any:
        return self._models[name].model_validate(value, strict=self._strict, context=self._context)

    def dump_result(self, value: Any) -> Any:
        """A result as it is stored: a model of the annotated class as plain data."""
        model = self._models.get("return")
        if model is not None and isinstance(value, model):
            return value.model_dump(**self._dump)
        return value

    def dump_arguments(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments as they are sent: models that the worker rebuilds as plain data."""
        names = [n for n, p in self._signature.parameters.items() if p.kind in _PLAIN]
        positional = [
            self._dumped(names[n] if n < len(names) else "", value) for n, value in enumerate(args)
        ]
        return tuple(positional), {name: self._dumped(name, kwargs[name]) for name in kwargs}

    def _dumped(self, name: str, value: Any) -> Any:
        if not isinstance(value, self._base) or name not in self._models:
            return value
        try:
            plain = value.model_dump(**self._dump)
            same = self._validate(name, plain) == value
        except Exception:  # validators of the user's, which may work in a worker alone
            return value
        # Otherwise the worker would get another one: a subclass, or what its dump leaves out.
        return plain if same else value


def _without_none(hint: Any) -> Any:
    """The one type in ``X | None``."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        others = [each for each in typing.get_args(hint) if each is not type(None)]
        return others[0] if len(others) == 1 else hint
    return hint
