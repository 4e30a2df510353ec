"""The tasks. A worker imports this module because the app includes it."""

from proj.app import app


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@app.task
def divide(x: float, y: float) -> float:
    return x / y
