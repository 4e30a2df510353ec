"""Remote control: asking and steering workers from outside."""

from taskq.control.commands import control_command, inspect_command
from taskq.control.control import Control
from taskq.control.inspect import Inspect

__all__ = ["Control", "Inspect", "control_command", "inspect_command"]
