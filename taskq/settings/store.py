"""The settings of one app: layers of values, each with its source."""

import logging
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from enum import IntEnum
from os import PathLike
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, cast

from taskq.exceptions import ImproperlyConfigured, UnknownSetting
from taskq.settings.conversion import convert
from taskq.settings.declarations import SETTINGS, Declarations
from taskq.settings.names import suggestion
from taskq.settings.secrets import masked
from taskq.settings.setting import GROUP_PREFIXES

logger = logging.getLogger(__name__)

#: Prefix of the environment variables that are read.
ENVIRON_PREFIX = "TASKQ_"
#: Names with the prefix that are no settings: they say where the app, or its settings, are.
_NOT_SETTINGS = frozenset({"app", "config_module"})
_OLD_PREFIXES = ("CELERY_", "CELERYD_", "CELERYBEAT_", "BROKER_", "TASKQ_")


class Layer(IntEnum):
    """Where a value comes from; the highest wins, and within a layer the latest."""

    ADDED_DEFAULT = 1
    LOADED = 2
    ENVIRONMENT = 3
    ASSIGNED = 4
    OVERRIDDEN = 5


class Settings(Declarations, MutableMapping[str, Any]):
    """Settings by attribute (``conf.task_serializer``) and by name (``conf["task_serializer"]``).

    Values are converted and checked when they are set. Deleting a setting takes back what
    was assigned, so that the configuration or the default shows again.

    Raises:
        UnknownSetting: from any access with a name that is no setting.
        ImproperlyConfigured: from setting a value of a wrong type.
    """

    def __init__(self, assigned: Mapping[str, Any] | None = None, /, **settings: Any) -> None:
        # Values stand in the instance's dictionary under their own names, where reading
        # an attribute finds them first and at no cost.
        values = self.__dict__
        values.update((name, item.default_for(False)) for name, item in SETTINGS.items())
        values["_layers"] = {}
        self.update(assigned or {}, source="keyword", **settings)

    # Reading

    def __getitem__(self, name: str) -> Any:
        if name not in SETTINGS:
            raise _unknown(name, "lookup")
        return self.__dict__[name]

    def __iter__(self) -> Iterator[str]:
        return iter(SETTINGS)

    def __len__(self) -> int:
        return len(SETTINGS)

    def __contains__(self, name: object) -> bool:
        return name in SETTINGS

    def __repr__(self) -> str:
        changes = ", ".join(f"{name}={value!r}" for name, value in self.changed().items())
        return f"Settings({changes})"

    def source(self, name: str) -> str:
        """Say where the value in force comes from, such as ``environment variable TASKQ_…``."""
        if name not in SETTINGS:
            raise _unknown(name, "lookup")
        layers = self._layers_of(name)
        if layers:
            return layers[max(layers)][1]
        interop = self.celery_interop and SETTINGS[name].differs_in_interop
        return "default (celery_interop)" if interop else "default"

    def changed(self, hide_secrets: bool = True) -> dict[str, Any]:
        """Return the settings that differ from taskq's defaults.

        Args:
            hide_secrets: mask passwords in URLs, and values whose name says that they
                are secret.
        """
        values = self.__dict__
        return {
            name: masked(name, values[name]) if hide_secrets else values[name]
            for name, item in SETTINGS.items()
            if values[name] != item.default
        }

    # Setting

    def __setitem__(self, name: str, value: Any) -> None:
        self.load({name: value}, "assignment", Layer.ASSIGNED)

    def __delitem__(self, name: str) -> None:
        if name not in SETTINGS:
            raise _unknown(name, "lookup")
        self._layers_of(name).pop(Layer.ASSIGNED, None)
        self._refresh(name)

    def __delattr__(self, name: str) -> None:
        del self[name]

    # Type checkers would let any name pass if they saw these.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Only called for what is not there.
            raise _unknown(name, "lookup")

        def __setattr__(self, name: str, value: Any) -> None:
            self[name] = value

    def clear(self) -> None:
        """Take back all that was assigned."""
        for name in SETTINGS:
            del self[name]

    def update(
        self,
        other: Mapping[str, Any] | Iterable[tuple[str, Any]] | Any = (),
        /,
        *,
        source: str = "assignment",
        **settings: Any,
    ) -> None:
        """Assign several settings, all or none.

        Args:
            other: settings by name.
            source: where they come from, for error messages and ``source()``.
            **settings: more of them.
        """
        self.load({**dict(other), **settings}, source, Layer.ASSIGNED)

    @contextmanager
    def override(self, **settings: Any) -> Iterator[None]:
        """Assign settings for as long as the ``with`` block lasts.

        Raises:
            UnknownSetting: a name is no setting.
            ImproperlyConfigured: a value has a wrong type.
        """
        before = {name: dict(layers) for name, layers in self._all_layers().items()}
        self.update(settings)
        try:
            yield
        finally:
            self._all_layers().clear()
            self._all_layers().update(before)
            for name in SETTINGS:
                self._refresh(name)

    def add_defaults(self, settings: Mapping[str, Any], source: str = "added defaults") -> None:
        """Set values that any other source overrides, except the defaults of taskq."""
        self.load(settings, source, Layer.ADDED_DEFAULT)

    def load(self, settings: Mapping[str, Any], source: str, layer: Layer = Layer.LOADED) -> None:
        """Set several settings in one layer, all or none.

        Raises:
            UnknownSetting: a name is no setting.
            ImproperlyConfigured: a value has a wrong type.
        """
        converted = {}
        for name, value in settings.items():
            if name not in SETTINGS:
                raise _unknown(name, source)
            converted[name] = convert(SETTINGS[name], value, source)
        both = converted.get("task_acks_on_failure_or_timeout")
        if both is not None:
            converted.setdefault("task_acks_on_failure", both)
            converted.setdefault("task_acks_on_timeout", both)
        for name, value in converted.items():
            self._layers_of(name)[layer] = (value, source)
            self._refresh(name)

    # Loading

    def load_object(self, source: object, namespace: str | None = None) -> None:
        """Take settings from a module, object or mapping, or from where a text says.

        Args:
            source: ``"proj.settings"`` and ``"proj.settings:Production"`` are imported,
                ``"taskq.toml"`` is read as a file.
            namespace: take the upper-case names that begin with it, such as
                ``TASKQ_BROKER_URL`` for ``"TASKQ"``, and leave all others alone. Without
                it: the lower-case names.

        Raises:
            ImproperlyConfigured: there is no such module, attribute or file.
        """
        if isinstance(source, str) and source.endswith(".toml"):
            self.load_toml(source)
            return
        if isinstance(source, str):
            label, found = source, _imported(source)
        else:
            label, found = _label(source), source
        members = _members(found)
        if namespace:
            members = _in_namespace(members, namespace)
        elif not isinstance(found, Mapping):
            members = _meant_as_settings(members, label)
        self.load(members, label)

    def load_environ(self, environ: Mapping[str, str]) -> None:
        """Take the variables ``TASKQ_<SETTING>``, such as ``TASKQ_BROKER_URL``.

        Others that begin so are left alone, because container platforms make up such names,
        unless one looks like a misspelt setting.

        Raises:
            UnknownSetting: a name is one or two letters from that of a setting.
        """
        for variable, value in environ.items():
            if not variable.startswith(ENVIRON_PREFIX):
                continue
            name = variable.removeprefix(ENVIRON_PREFIX).lower()
            source = f"environment variable {variable}"
            if name in SETTINGS:
                self.load({name: value}, source, Layer.ENVIRONMENT)
            elif name not in _NOT_SETTINGS and suggestion(name, cutoff=0.9):
                raise _unknown(name, source)
            else:
                logger.debug("%s is no setting and was left alone", source)

    def load_toml(self, path: str | PathLike[str]) -> None:
        """Take settings from a TOML file: its table ``[taskq]``, ``[tool.taskq]``, or all of it.

        Raises:
            ImproperlyConfigured: the file cannot be read, or is no TOML.
        """
        # Most apps have no such file.
        import tomllib
        from pathlib import Path

        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise ImproperlyConfigured(
                f"cannot read settings from {str(path)!r}: {exc}; "
                "it must be a TOML file with a table [taskq]"
            ) from exc
        tool = content.get("tool", {})
        table = content.get("taskq", tool.get("taskq", {} if "tool" in content else content))
        self.load(table, str(path))

    # Layers

    def unload(self, names: Iterable[str], layer: Layer) -> None:
        """Take back what a layer says of some settings."""
        for name in names:
            self._layers_of(name).pop(layer, None)
            self._refresh(name)

    def layers(self, name: str) -> frozenset[Layer]:
        """The layers that say something of a setting."""
        return frozenset(self._layers_of(name))

    def _all_layers(self) -> dict[str, dict[Layer, tuple[Any, str]]]:
        return cast("dict[str, dict[Layer, tuple[Any, str]]]", self.__dict__["_layers"])

    def _layers_of(self, name: str) -> dict[Layer, tuple[Any, str]]:
        return self._all_layers().setdefault(name, {})

    def _refresh(self, name: str) -> None:
        layers = self._layers_of(name)
        if layers:
            self.__dict__[name] = layers[max(layers)][0]
        else:
            self.__dict__[name] = SETTINGS[name].default_for(self.celery_interop)
        if name == "celery_interop":
            for other, item in SETTINGS.items():
                if item.differs_in_interop:
                    self._refresh(other)


def _unknown(name: str, source: str) -> UnknownSetting:
    # Special names are asked for by copy and pickle; no setting is ever called so.
    near = None if name.startswith("_") else suggestion(name)
    hint = f": did you mean {near!r}?" if near else "."
    return UnknownSetting(
        f"unknown setting {name!r} (from {source}){hint} `taskq settings --all` lists them"
    )


def _imported(path: str) -> object:
    """Import ``module``, ``module:attribute`` or ``module.attribute``."""
    from importlib import import_module

    module, colon, attribute = path.partition(":")
    try:
        try:
            found: object = import_module(module)
        except ModuleNotFoundError as exc:
            parent, dot, last = module.rpartition(".")
            if colon or not dot or exc.name != module:
                raise
            module, attribute = parent, last
            found = import_module(module)
        for part in filter(None, attribute.split(".")):
            found = getattr(found, part)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{module}.".startswith(f"{exc.name}."):
            raise  # The module is there, and something that it imports is not.
        raise _no_object(path, str(exc)) from exc
    except (AttributeError, ValueError) as exc:
        raise _no_object(path, str(exc)) from exc
    return found


def _no_object(path: str, reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"cannot load settings from {path!r}: {reason}; give the dotted path of a module "
        "that can be imported from here, or module:attribute"
    )


def _label(source: object) -> str:
    if isinstance(source, Mapping):
        return "mapping"
    return str(getattr(source, "__name__", None) or type(source).__name__)


def _members(source: object) -> dict[str, Any]:
    if isinstance(source, Mapping):
        return dict(source)
    return {name: getattr(source, name) for name in dir(source) if not name.startswith("_")}


def _in_namespace(members: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    prefix = f"{namespace.rstrip('_').upper()}_"
    return {
        name.removeprefix(prefix).lower(): value
        for name, value in members.items()
        if name.startswith(prefix) and name.removeprefix(prefix).lower() not in _NOT_SETTINGS
    }


def _meant_as_settings(members: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Leave out what a module holds besides settings; what only looks like one stays in."""
    taken = {}
    for name, value in members.items():
        if name in SETTINGS:
            taken[name] = value
        elif name.startswith(_OLD_PREFIXES):
            raise _unknown(name, label)
        elif name.startswith(GROUP_PREFIXES) and not isinstance(
            value, (ModuleType, FunctionType, type)
        ):
            taken[name] = value
    return taken
