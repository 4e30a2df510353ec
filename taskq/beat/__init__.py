"""beat: sends tasks when they are due, each tick once, however many beats there are."""

from taskq.beat.arguments import BeatLazyFunc
from taskq.beat.editor import ScheduleEditor
from taskq.beat.scheduler import Scheduler
from taskq.beat.service import Beat

__all__ = ["Beat", "BeatLazyFunc", "ScheduleEditor", "Scheduler"]
