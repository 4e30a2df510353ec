"""Settings: declared in one place, checked, and with a known origin."""

from taskq.settings.declarations import SETTINGS, Declarations
from taskq.settings.setting import Setting
from taskq.settings.store import Layer, Settings

__all__ = ["SETTINGS", "Declarations", "Layer", "Setting", "Settings"]
