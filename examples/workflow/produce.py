"""Tasks that follow tasks: chains, callbacks, errbacks; progress, and waiting on an event loop.

In this folder, in two terminals:

    taskq -A tasks worker --loglevel INFO
    python produce.py
"""

import asyncio
from uuid import uuid4

from taskq import AsyncResult, chain

from tasks import app, count_to, longest, read, report_failure, shout


def main() -> None:
    # Each step gets the value of the one before it as its first argument.
    result = chain(read.s("some words of different length"), longest.s(), shout.s(sign="?"))()
    print("chain:", result.get(timeout=30))
    assert result.parent is not None
    print("the step before:", result.parent.get(timeout=30))

    # The same with |, and one step that takes nothing from the one before it.
    short = read.s("a b") | shout.si("done")
    print("with |:", short.delay().get(timeout=30))

    # A callback is sent when a task has succeeded. An id of our own lets us wait for it.
    callback_id = str(uuid4())
    longest.apply_async((["one", "three"],), link=shout.s().set(task_id=callback_id))
    print("callback:", app.AsyncResult(callback_id).get(timeout=30))

    # An errback is sent when one has failed; here, whichever step of the chain that is.
    errback_id = str(uuid4())
    errback = report_failure.s().set(task_id=errback_id)
    (read.s("") | longest.s() | shout.s()).on_error(errback).delay()
    print("errback:", app.AsyncResult(errback_id).get(timeout=30))

    asyncio.run(watch())


async def watch() -> None:
    """The twins that begin with `a` do not block the event loop."""
    result = await count_to.adelay(3)
    printer = asyncio.create_task(print_progress(result))
    print("counted to", await result)
    await printer


async def print_progress(result: AsyncResult[int]) -> None:
    shown = None
    while True:
        document = await result.adocument()
        if document["status"] == "SUCCESS":
            return
        if document["status"] == "PROGRESS" and document["result"] != shown:
            shown = document["result"]
            print(f"progress: {shown['done']} of {shown['of']}")
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    main()
