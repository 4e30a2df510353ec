"""Tasks that fail, and what they do about it."""

from pathlib import Path
from typing import Any

from taskq import Reject, TaskQ
from taskq.exceptions import Ignore

app = TaskQ("tasks", broker="sqlite:///taskq.db")


class ServiceBusy(Exception):
    """A service of somebody else's that needs a moment."""


@app.task(bind=True, max_retries=5)
def fetch(self: Any, busy_times: int) -> str:
    """Decide in the code: whether to try again, and when."""
    if self.request.retries < busy_times:
        raise self.retry(exc=ServiceBusy("come back later"), countdown=0.1)
    return f"fetched at attempt {self.request.retries + 1}"


@app.task(
    bind=True,
    autoretry_for=(ServiceBusy,),
    max_retries=3,
    retry_backoff=0.1,  # seconds before the first retry; 0.2 before the second, then 0.4
    retry_backoff_max=10,
    retry_jitter=False,  # in earnest leave it on, so that many tasks do not come back at once
)
def fetch_by_itself(self: Any, busy_times: int) -> str:
    """Leave it to the options: every ServiceBusy is a reason to try again."""
    if self.request.retries < busy_times:
        raise ServiceBusy(f"busy at attempt {self.request.retries + 1}")
    return f"fetched at attempt {self.request.retries + 1}"


@app.task
def ship(order: int) -> str:
    """Refuse what cannot be done now and must not be lost: it becomes a dead letter."""
    if not Path("warehouse-is-open").exists():
        raise Reject(f"no warehouse for order {order}")
    return f"shipped order {order}"


@app.task
def tidy() -> None:
    """End without a result: nobody is told how it ended."""
    raise Ignore("nothing to tidy")
