"""The app of `benchmarks.waiting`: tasks that sleep, and tasks that wait for a web server.

Whatever runs it, plain functions use what blocks, and coroutines what does not; both speak HTTP
with the standard library alone, so that no client's own costs are measured.
"""

import asyncio
import http.client
import os
import time

from taskq import TaskQ

app = TaskQ("waiting", broker=os.environ["WAITING_URL"], set_as_current=False)


@app.task(name="sleep")
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task(name="async_sleep")
async def async_sleep(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@app.task(name="get")
def get(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/")
        return len(connection.getresponse().read())
    finally:
        connection.close()


@app.task(name="async_get")
async def async_get(port: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(head.decode())
        return len(body)
    finally:
        writer.close()
