"""Every program in examples/rabbitmq prints what it is meant to, on a real RabbitMQ."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import VirtualHost

pytestmark = pytest.mark.rabbitmq

FOLDER = Path(__file__).parents[2] / "examples" / "rabbitmq"
SHARED = {"workers.py"}
"""What is no program."""

PRINTED = {
    "broadcast.py": """\
one forgets prices
three forgets prices
two forgets prices
""",
    "delayed_task.py": """\
in this order: now later
later than 1.2 s: True
""",
    "direct_exchange.py": """\
shop.audit: a hat
shop.clicks: the banner
shop.new: a hat
shop.paid: a coat
""",
    "dispatch.py": """\
in turn: one two
short tasks went to the idle worker: True
""",
    "exchange_to_exchange.py": """\
events.log: logged in
events.log: paid
payments.books: paid
payments.fraud: paid
""",
    "exclusive_queue.py": """\
read: all is well
the queue went with its worker
""",
    "fanout_exchange.py": """\
signups.billing: Ada
signups.mail: Ada
ticks.history: 12:00
ticks.screen: 12:00
""",
    "headers_exchange.py": """\
no queue wants a song
files.reports: a report
files.reports: a report today
files.urgent: a report today
files.urgent: an alarm
previews.small: a picture
""",
    "plain_consumer.py": """\
task: thumbnails.make
arguments: ['cat.png'] {'size': 64}
content type: application/json
id is also the correlation id: True
""",
    "plain_producer.py": """\
Hello, WORLD!
""",
    "priorities.py": """\
in this order: high middle low none
""",
    "quorum_queue.py": """\
1 booked from ledger
2 booked from ledger
""",
    "topic_exchange.py": """\
kernel.error -> logs.all
kernel.error -> logs.errors
kernel.error -> logs.kernel
kernel.info.boot -> logs.all
kernel.info.boot -> logs.kernel
mail.error -> logs.all
mail.error -> logs.errors
one.disk.free -> metrics.disks
""",
}


def run(program: str, url: str) -> str:
    """What a program prints; it must end well."""
    done = subprocess.run(
        [sys.executable, FOLDER / program],
        env={**os.environ, "TASKQ_BROKER_URL": url, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_program_is_tested_and_listed() -> None:
    programs = {path.name for path in FOLDER.glob("*.py")} - SHARED
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert programs == PRINTED.keys()
    assert {name for name in programs if f"| [{name}]({name}) |" in readme} == programs


@pytest.mark.parametrize("program", sorted(PRINTED))
def test_program(program: str, rabbitmq: VirtualHost) -> None:
    assert run(program, rabbitmq.url) == PRINTED[program]


def test_with_pika(rabbitmq: VirtualHost) -> None:
    url = rabbitmq.url.replace("amqp://", "pika://")
    assert run("headers_exchange.py", url) == PRINTED["headers_exchange.py"]
