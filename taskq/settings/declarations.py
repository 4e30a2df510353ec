"""Every setting, once: name, type, default and what it does.

A line in the class of its group (`taskq/settings/groups/`) is all that a new setting needs: type
checkers read the annotation, conversion and its error messages come from it, and the documentation
and ``taskq settings`` are made from the rest. Times are in seconds.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from taskq.settings.groups.beat import BeatSettings
from taskq.settings.groups.broker import BrokerSettings
from taskq.settings.groups.general import GeneralSettings
from taskq.settings.groups.redis import RedisSettings
from taskq.settings.groups.results import ResultSettings
from taskq.settings.groups.security import SecuritySettings
from taskq.settings.groups.tasks import TaskSettings
from taskq.settings.groups.worker import WorkerSettings
from taskq.settings.setting import Setting


class Declarations(
    GeneralSettings,
    BeatSettings,
    BrokerSettings,
    ResultSettings,
    RedisSettings,
    SecuritySettings,
    TaskSettings,
    WorkerSettings,
):
    """The settings as attributes; ``Settings`` fills them in."""


SETTINGS: Mapping[str, Setting[Any]] = MappingProxyType(
    {
        name: item
        for group in Declarations.__bases__
        for name, item in vars(group).items()
        if isinstance(item, Setting)
    }
)
