"""Steps of a small workflow: each does one thing, and knows nothing of the others."""

import asyncio
from typing import Any

from taskq import TaskQ

app = TaskQ("tasks", broker="sqlite:///taskq.db")


@app.task
def read(text: str) -> list[str]:
    return text.split()


@app.task
def longest(words: list[str]) -> str:
    if not words:
        raise ValueError("there are no words")
    return max(words, key=len)


@app.task
def shout(word: str, sign: str = "!") -> str:
    return word.upper() + sign


@app.task
def report_failure(task_id: str) -> str:
    """An errback: it gets the id of the task that failed."""
    error = app.AsyncResult(task_id).result
    return f"{type(error).__name__}: {error}"


@app.task(bind=True)
async def count_to(self: Any, number: int) -> int:
    """Tells how far it is."""
    for done in range(number):
        await self.aupdate_state(state="PROGRESS", meta={"done": done, "of": number})
        await asyncio.sleep(0.3)  # stands for the work
    return number
