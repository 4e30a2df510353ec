"""Tasks that run by themselves, said in three ways."""

from typing import Any

from taskq import TaskQ
from taskq.schedules import crontab

app = TaskQ("tasks", broker="sqlite:///taskq.db", timezone="Europe/Berlin")


@app.periodic(crontab(minute=30, hour=2))
@app.task
def clean_up() -> None:
    """Beside the task: every night at half past two, by the clock of Berlin."""


@app.task(bind=True)
def pulse(self: Any, name: str) -> str:
    """Knows which tick it runs for."""
    return f"{name}, due at {self.request.headers['periodic_task_due']}"


@app.on_after_configure.connect
def set_up(sender: TaskQ, **kwargs: Any) -> None:
    """In code that runs: each of these ticks is sent, even those that come late."""
    sender.add_periodic_task(0.5, pulse.s("heart"), name="heart", missed="all")


# In the settings, as Celery has them.
app.conf.beat_schedule = {
    "report": {"task": "tasks.clean_up", "schedule": crontab(0, 9, day_of_week="mon-fri")},
}
