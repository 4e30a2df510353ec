"""What a setting is, and how one is declared."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Generic, TypeVar, cast

T = TypeVar("T")

#: A length of time: a number of seconds, or a ``timedelta``.
Seconds = Annotated[float, "seconds"]

#: First words of setting names; a lower-case name that begins so is meant to be a setting.
GROUP_PREFIXES = (
    "azureblockblob_",
    "beat_",
    "broker_",
    "cache_",
    "control_",
    "database_",
    "event_",
    "gcs_",
    "mongodb_",
    "redis_",
    "result_",
    "s3_",
    "security_",
    "task_",
    "worker_",
)

_UNSET: Final[Any] = object()


class Setting(Generic[T]):
    """One declared setting.

    Attributes:
        name: as in ``conf.<name>``.
        type: what values are converted to.
        default: the value when nothing sets it.
        doc: what it does, in one line or two.
        minimum: the least number that is allowed.
        names: words that stand for values, such as ``persistent`` for 2.
        joined: what a list of texts is joined by, where it may be given for a text.
    """

    def __init__(
        self,
        default: T,
        doc: str,
        minimum: float | None = None,
        names: Mapping[str, T] | None = None,
        interop: T = _UNSET,
        joined: str | None = None,
    ) -> None:
        self.name = ""
        self.type: Any = Any
        self.default = default
        self.doc = doc
        self.minimum = minimum
        self.names = MappingProxyType(dict(names or {}))
        self.joined = joined
        self._interop = interop

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.type = owner.__annotations__[name]

    # Without __set__: values live in the instance's own dictionary, which comes first.
    def __get__(self, instance: object, owner: type) -> "Setting[T]":
        return self

    @property
    def group(self) -> str:
        """The first word of the name, such as ``task``; ``general`` for those without one."""
        head, separator, _ = self.name.partition("_")
        return head if separator and f"{head}_" in GROUP_PREFIXES else "general"

    @property
    def differs_in_interop(self) -> bool:
        """Whether ``celery_interop`` changes the default."""
        return self._interop is not _UNSET

    def default_for(self, celery_interop: bool) -> T:
        """Return the default, which the caller may change in place."""
        value = self._interop if celery_interop and self.differs_in_interop else self.default
        return cast("T", dict(value)) if isinstance(value, dict) else value

    def __repr__(self) -> str:
        return f"<Setting {self.name} = {self.default!r}>"


def setting(
    default: T,
    doc: str,
    *,
    minimum: float | None = None,
    names: Mapping[str, T] | None = None,
    interop: T = _UNSET,
    joined: str | None = None,
) -> T:
    """Declare a setting; ``interop`` is its default under ``celery_interop``."""
    # Type checkers are to see the value that ``conf.<name>`` holds, not the declaration.
    return cast("T", Setting(default, doc, minimum, names, interop, joined))
