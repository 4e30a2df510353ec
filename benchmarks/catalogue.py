"""Every task queue that can be measured.

To add one, write its adapter (`benchmarks/adapters/`) and add a `Subject` here.

All workers run two tasks at a time where tasks block (two processes) and two processes where
tasks run on asyncio. Settings are the best that were found for each peer, not its defaults; what
departs from the defaults stands in the worker's command line here or in the adapter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.environments import Environment


@dataclass(frozen=True, slots=True)
class Subject:
    """One task queue on one broker.

    In `broker`, `results`, and `worker`, `{redis}`, `{amqp}`, `{pika}` stand for URLs of servers,
    `{directory}` for the trial's own folder, `{bin}` for the folder of the environment's
    programs, `{adapter}` for the adapter's module and `{queue}` for the trial's queue.

    Args:
        name: What it is called on the command line and in reports.
        adapter: Module below `benchmarks.adapters`, or a full module name.
        environment: Packages it needs.
        servers: Servers it needs, of `redis` and `rabbitmq`.
        broker: URL of its broker.
        results: URL of its result store.
        worker: Command line of its worker; empty if the worker lives in the producer.
        application: Code that imports the library and makes an app and a task, without a server.
        bulk: Whether it has one call for many tasks.
        delayed: Whether it has one call for many delayed tasks.
        workflows: Whether it has groups, chords and chains.
        measures: Names of the only measures that it is for; empty for all.
        worker_environment: Variables for the worker's process.
    """

    name: str
    adapter: str
    environment: Environment
    servers: tuple[str, ...]
    broker: str
    results: str
    worker: str
    application: str
    bulk: bool = False
    delayed: bool = False
    workflows: bool = False
    measures: tuple[str, ...] = ()
    worker_environment: dict[str, str] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """Full name of the adapter's module."""
        return self.adapter if "." in self.adapter else f"benchmarks.adapters.{self.adapter}"


_TASKQ = Environment("taskq", (), ("taskq",))
_TASKQ_REDIS = Environment("taskq", (), ("taskq", "redis", "hiredis"))
_HUEY = Environment("huey", ("huey>=2.5", "redis[hiredis]>=5"), ("huey", "redis"))
_CELERY = Environment("celery", ("celery[redis]>=5.5", "hiredis>=3"), ("celery", "kombu", "redis"))
_DRAMATIQ = Environment(
    "dramatiq", ("dramatiq[redis,rabbitmq]>=1.17", "hiredis>=3"), ("dramatiq", "redis", "pika")
)
_RQ = Environment("rq", ("rq>=2", "hiredis>=3"), ("rq", "redis"))
# saq imports typing_extensions without asking for it.
_SAQ = Environment("saq", ("saq[redis,hiredis]>=0.22", "typing_extensions"), ("saq", "redis"))
_TASKIQ = Environment(
    "taskiq",
    ("taskiq[uvloop]>=0.11", "taskiq-redis>=1", "hiredis>=3"),
    ("taskiq", "taskiq-redis", "redis"),
)
# cauli's worker takes uvloop where it finds it.
_CAULI = Environment(
    "cauli",
    ("cauli>=0.1", "cauli-worker>=0.1", "hiredis>=3", "uvloop>=0.21"),
    ("cauli", "cauli-worker", "redis", "uvloop"),
)
_MAYU = Environment("mayu", ("mayu>=0.2",), ("mayu",), least_python=(3, 13))
_BARE = Environment(
    "bare-loop", ("redis[hiredis]>=5", "msgspec>=0.19", "uvloop>=0.21"), ("redis", "uvloop")
)

_TASKQ_WORKER = "{bin}/taskq -A {adapter} worker -c 2 -Q {queue} -l WARNING"
_TASKQ_APPLICATION = """
from taskq import TaskQ
app = TaskQ("bench", broker="sqlite:///bench.db")
@app.task
def mark(slot): return slot
"""
_HUEY_WORKER = (
    "{bin}/huey_consumer {adapter}.huey -k process -w 2 --no-periodic "
    "--delay 0.001 --max-delay 0.1 --quiet"
)
_HUEY_APPLICATION = """
from huey import {kind}
huey = {kind}("bench")
@huey.task()
def mark(slot): return slot
"""
_CELERY_WORKER = (
    "{bin}/celery -A {adapter} worker -P prefork -c 2 -l WARNING "
    "--without-gossip --without-mingle --without-heartbeat"
)
_CELERY_APPLICATION = """
from celery import Celery
app = Celery("bench", broker="{url}")
@app.task
def mark(slot): return slot
"""
_DRAMATIQ_WORKER = "{bin}/dramatiq {adapter} --processes 2 --threads 1"
_DRAMATIQ_APPLICATION = """
import dramatiq
from dramatiq.brokers.{module} import {kind}
dramatiq.set_broker({kind}(url="{url}"))
@dramatiq.actor
def mark(slot): return slot
"""
_RQ_APPLICATION = """
from redis import Redis
from rq import Queue
queue = Queue("bench", connection=Redis())
def mark(slot): return slot
"""
_SAQ_APPLICATION = """
from saq import Queue
queue = Queue.from_url("redis://localhost")
async def mark(ctx, *, slot): return slot
"""
_TASKIQ_APPLICATION = """
from taskiq_redis import ListQueueBroker
broker = ListQueueBroker("redis://localhost")
@broker.task
async def mark(slot): return slot
"""
_CAULI_APPLICATION = """
from cauli import Cauli
app = Cauli("redis://localhost")
@app.task
async def mark(slot): return slot
"""
_MAYU_APPLICATION = """
from mayu import App
app = App("redis://localhost")
@app.task
def mark(slot): return slot
"""


SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject(
            name="taskq-sqlite",
            adapter="taskq_adapter",
            environment=_TASKQ,
            servers=(),
            broker="sqlite:///{directory}/bench.db",
            results="",
            worker=_TASKQ_WORKER,
            application=_TASKQ_APPLICATION,
            bulk=True,
            delayed=True,
            workflows=True,
        ),
        Subject(
            name="taskq-memory",
            adapter="taskq_inside",
            environment=_TASKQ,
            servers=(),
            broker="memory://",
            results="",
            worker="",
            application=_TASKQ_APPLICATION.replace("sqlite:///bench.db", "memory://"),
            bulk=True,
            delayed=True,
            workflows=True,
        ),
        Subject(
            name="taskq-redis",
            adapter="taskq_adapter",
            environment=_TASKQ_REDIS,
            servers=("redis",),
            broker="{redis}",
            results="{redis}",
            worker=_TASKQ_WORKER,
            application=_TASKQ_APPLICATION.replace("sqlite:///bench.db", "redis://"),
            bulk=True,
            delayed=True,
            workflows=True,
        ),
        Subject(
            name="taskq-amqp",
            adapter="taskq_adapter",
            environment=_TASKQ_REDIS,
            servers=("rabbitmq", "redis"),
            broker="{amqp}",
            results="{redis}",
            worker=_TASKQ_WORKER,
            application=_TASKQ_APPLICATION.replace("sqlite:///bench.db", "amqp://"),
            bulk=True,
            delayed=True,
            workflows=True,
        ),
        Subject(
            name="taskq-pika",
            adapter="taskq_adapter",
            environment=_TASKQ_REDIS,
            servers=("rabbitmq", "redis"),
            broker="{pika}",
            results="{redis}",
            worker=_TASKQ_WORKER,
            application=_TASKQ_APPLICATION.replace("sqlite:///bench.db", "pika://"),
            bulk=True,
            delayed=True,
            workflows=True,
        ),
        Subject(
            name="taskq-rpc",
            adapter="taskq_adapter",
            environment=_TASKQ_REDIS,
            servers=("rabbitmq",),
            broker="{amqp}",
            results="rpc://",
            worker=_TASKQ_WORKER,
            application=_TASKQ_APPLICATION.replace("sqlite:///bench.db", "amqp://"),
            bulk=True,
        ),
        Subject(
            name="huey-sqlite",
            adapter="huey_adapter",
            environment=_HUEY,
            servers=(),
            broker="sqlite:///{directory}/huey.db",
            results="",
            worker=_HUEY_WORKER,
            application=_HUEY_APPLICATION.format(kind="SqliteHuey"),
        ),
        Subject(
            name="huey-sqlite-nosync",
            adapter="huey_adapter",
            environment=_HUEY,
            servers=(),
            broker="sqlite:///{directory}/huey.db?fsync=off",
            results="",
            worker=_HUEY_WORKER,
            application=_HUEY_APPLICATION.format(kind="SqliteHuey"),
        ),
        Subject(
            name="huey-redis",
            adapter="huey_adapter",
            environment=_HUEY,
            servers=("redis",),
            broker="{redis}",
            results="",
            worker=_HUEY_WORKER,
            application=_HUEY_APPLICATION.format(kind="RedisHuey"),
        ),
        Subject(
            name="celery-redis",
            adapter="celery_adapter",
            environment=_CELERY,
            servers=("redis",),
            broker="{redis}",
            results="{redis}",
            worker=_CELERY_WORKER,
            application=_CELERY_APPLICATION.format(url="redis://"),
            bulk=True,
            workflows=True,
        ),
        Subject(
            name="celery-rabbitmq",
            adapter="celery_adapter",
            environment=_CELERY,
            servers=("rabbitmq", "redis"),
            broker="{amqp}",
            results="{redis}",
            worker=_CELERY_WORKER,
            application=_CELERY_APPLICATION.format(url="amqp://"),
            bulk=True,
        ),
        Subject(
            name="dramatiq-redis",
            adapter="dramatiq_adapter",
            environment=_DRAMATIQ,
            servers=("redis",),
            broker="{redis}",
            results="{redis}",
            worker=_DRAMATIQ_WORKER,
            application=_DRAMATIQ_APPLICATION.format(
                module="redis", kind="RedisBroker", url="redis://"
            ),
            worker_environment={"dramatiq_queue_prefetch": "200"},
        ),
        Subject(
            name="dramatiq-rabbitmq",
            adapter="dramatiq_adapter",
            environment=_DRAMATIQ,
            servers=("rabbitmq", "redis"),
            broker="{amqp}",
            results="{redis}",
            worker=_DRAMATIQ_WORKER,
            application=_DRAMATIQ_APPLICATION.format(
                module="rabbitmq", kind="RabbitmqBroker", url="amqp://"
            ),
            worker_environment={"dramatiq_queue_prefetch": "200"},
        ),
        Subject(
            name="rq",
            adapter="rq_adapter",
            environment=_RQ,
            servers=("redis",),
            broker="{redis}",
            results="{redis}",
            worker=(
                "{bin}/rq worker-pool {queue} --num-workers 2 "
                "--worker-class rq.worker.SimpleWorker --url {redis} --quiet"
            ),
            application=_RQ_APPLICATION,
            bulk=True,
        ),
        Subject(
            name="saq",
            adapter="saq_adapter",
            environment=_SAQ,
            servers=("redis",),
            broker="{redis}",
            results="{redis}",
            worker="{bin}/saq {adapter}.settings --workers 2 --quiet",
            application=_SAQ_APPLICATION,
        ),
        Subject(
            name="taskiq-redis",
            adapter="taskiq_adapter",
            environment=_TASKIQ,
            servers=("redis",),
            broker="{redis}",
            results="{redis}",
            worker=(
                "{bin}/taskiq worker {adapter}:broker --workers 2 --no-parse "
                "--max-async-tasks 100 --max-prefetch 100 --log-level WARNING"
            ),
            application=_TASKIQ_APPLICATION,
        ),
        Subject(
            name="cauli",
            adapter="cauli_adapter",
            environment=_CAULI,
            servers=("redis",),
            broker="{redis}",
            results="{redis}",
            # With --ack-flush-ms 0 no result waits up to 2 ms for others to be written with it.
            worker=(
                "{bin}/cauli-worker -A {adapter}:app --redis-url {redis} --procs 2 -c 200 "
                "--batch 64 --ack-flush-ms 0 --log-level warn"
            ),
            application=_CAULI_APPLICATION,
            bulk=True,
        ),
        Subject(
            name="mayu",
            adapter="mayu_adapter",
            environment=_MAYU,
            servers=("redis",),
            broker="{redis}",
            results="{redis}",
            worker=(
                "{bin}/mayu worker {adapter}:app --mode process --processes 2 "
                "--prefetch-multiplier 64 --log-level WARNING"
            ),
            application=_MAYU_APPLICATION,
        ),
        Subject(
            name="bare-loop",
            adapter="benchmarks.bare_loop",
            environment=_BARE,
            servers=("redis",),
            broker="{redis}",
            results="{redis}",
            worker="{bin}/python -m benchmarks.bare_loop",
            application="import redis, msgspec",
            bulk=True,
        ),
        Subject(
            name="bare-xadd",
            adapter="benchmarks.bare_xadd",
            environment=_BARE,
            servers=("redis",),
            broker="{redis}",
            results="{redis}",
            worker="{bin}/python -m benchmarks.bare_loop",
            application="import redis, msgspec",
            measures=("enqueue",),
        ),
    )
}
