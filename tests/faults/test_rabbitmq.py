"""A RabbitMQ that goes away, falls silent or refuses, and workers of it that die."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq.exceptions import ImproperlyConfigured, OperationalError, QueueNotFound
from taskq.routing import Exchange, Queue
from tests.faults.conftest import MakeStage
from tests.faults.locks import locked
from tests.faults.proxy import Proxy, proxy
from tests.faults.stage import Stage
from tests.servers import RabbitMQServer, RedisServer, VirtualHost, rabbitmq_server

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def broker_url(rabbitmq: VirtualHost) -> str:
    return rabbitmq.url


@pytest.fixture
def stage(make_stage: MakeStage, redis: RedisServer) -> Stage:
    return make_stage(broker_lease=2, result_backend=redis.url)


class TestDeaths:
    def test_of_a_child(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=2)
        results = [stage.send("die", "once", 1), *stage.send_notes(range(20))]
        stage.assert_all_done(results)
        assert stage.journal.count("start", "once") == 2
        assert set(stage.outcomes(results).values()) == {"SUCCESS"}
        assert worker.terminate() == 0

    def test_again_and_again(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=1)
        poison, note = stage.send("die", "always", 100), stage.send("note", "after")
        stage.assert_all_done([poison, note], dead=1)
        assert stage.journal.count("start", "always") == 3
        (letter,) = stage.dead_letters()
        assert "crash 3 of 3" in letter.reason
        assert letter.crashes == 3
        assert worker.terminate() == 0

    def test_of_a_worker(self, stage: Stage) -> None:
        first = stage.worker(concurrency=1)
        results = [stage.send("hold", key, "open") for key in range(4)]
        stage.wait(lambda: stage.journal.count("start") == 1, "a task running")
        second = stage.worker(concurrency=1)
        first.kill()
        stage.wait(lambda: stage.journal.count("start") == 2, "another worker to have it")
        stage.gates.open("open")
        stage.assert_all_done(results)
        assert stage.journal.count("start") == 5
        assert second.terminate() == 0

    @pytest.mark.parametrize("driver", ["amqp", "pika"])
    def test_of_a_worker_that_only_stands_still(
        self, make_stage: MakeStage, rabbitmq: VirtualHost, redis: RedisServer, driver: str
    ) -> None:
        """RabbitMQ hears no heartbeat and hands its message on; what it says late is no news."""
        stage = make_stage(
            broker_url=rabbitmq.url.replace("amqp:", f"{driver}:"),
            broker_lease=2,
            broker_heartbeat=1,
            result_backend=redis.url,
        )
        frozen = stage.worker(concurrency=1)
        tasks = stage.app.tasks
        result = (tasks["hold"].s("task") | tasks["after"].s("next"))()
        stage.wait_journal("start", "task")
        frozen.freeze()
        other = stage.worker(concurrency=1)
        (child,) = other.children()
        stage.wait_journal("start", "task", 2)
        stage.gates.open("task")
        stage.wait_journal("end", "task", 2)
        assert result.get(timeout=20) == child.pid
        frozen.thaw()
        frozen.wait_log("succeeded in")
        stage.assert_all_done([result])
        assert stage.send("note", "last").get(timeout=20) == "last"
        assert frozen.terminate() == 0
        stage.assert_all_done([result])
        assert result.parent is not None
        assert (result.get(timeout=1), result.parent.get(timeout=1)) == (child.pid, child.pid)
        assert stage.journal.count("after", "next") == 1
        assert other.terminate() == 0

    @pytest.mark.parametrize("results", ["disabled://", "rpc://"])
    def test_of_a_worker_without_a_store(self, make_stage: MakeStage, results: str) -> None:
        """Nobody can look up what has become of a message, and it runs again."""
        stage = make_stage(broker_lease=2, result_backend=results)
        first = stage.worker(concurrency=1)
        first.wait_log("may be run by another worker as well")
        stage.send("hold", "task")
        stage.wait_journal("start", "task")
        second = stage.worker(concurrency=1)
        first.kill()
        stage.wait_journal("start", "task", 2)
        stage.gates.open("task")
        stage.wait_journal("end", "task")
        stage.wait(lambda: stage.depth().ready == 0, "an empty queue")
        assert second.terminate() == 0

    def test_of_every_worker_that_takes_it(self, make_stage: MakeStage, redis: RedisServer) -> None:
        """A classic queue does not count: copies of the message do."""
        stage = make_stage(broker_lease=2, result_backend=redis.url, task_max_deliveries=3)
        result = stage.send("hold", "poison", "never")
        for count in range(1, 4):
            worker = stage.worker(concurrency=1)
            stage.wait(lambda count=count: stage.journal.count("start") == count, "it to run")
            worker.kill()
        worker = stage.worker(concurrency=1)
        stage.assert_all_done([result], dead=1)
        assert stage.journal.count("start") == 3
        assert "delivered 4 times" in stage.dead_letters()[0].reason
        assert worker.terminate() == 0


class TestBetween:
    """A worker dies between two of the steps in which a task's end is written."""

    def test_publishing_and_storing(self, make_stage: MakeStage, redis: RedisServer) -> None:
        """The next step is in its queue twice, and runs once, with either of the two values."""
        stage = make_stage(broker_lease=2, result_backend=redis.url, redis_socket_timeout=1)
        first = stage.worker(concurrency=1)
        (dead,) = first.children()
        chain = stage.app.tasks["hold"].s("task") | stage.app.tasks["after"].s("next").set(
            queue="later"
        )
        result = chain.apply_async(queue="default")
        stage.wait_journal("start", "task")
        with locked(stage.settings["result_backend"]):
            stage.gates.open("task")
            stage.wait(lambda: stage.app.broker.depth("later").ready == 1, "the next step")
            first.wait_log("cannot write outcomes")
            first.kill()
        second = stage.worker(concurrency=1)
        stage.wait(lambda: stage.app.broker.depth("later").ready == 2, "the next step once more")
        third = stage.worker("-Q", "later", concurrency=2)
        (child,) = second.children()
        assert result.get(timeout=20) in (dead.pid, child.pid)
        assert result.parent is not None
        assert result.parent.get(timeout=20) == child.pid
        stage.wait(lambda: stage.app.broker.depth("later").ready == 0, "an empty queue")
        assert stage.journal.count("end", "task") == 2
        assert stage.journal.count("after", "next") == 1
        assert [second.terminate(), third.terminate()] == [0, 0]

    def test_storing_and_acknowledging(
        self, make_stage: MakeStage, rabbitmq: VirtualHost, redis: RedisServer
    ) -> None:
        """The message comes again, its result is there, and nothing runs."""
        with proxy(rabbitmq.server.port) as network:
            stage = make_stage(broker_lease=2, result_backend=redis.url)
            url = rabbitmq.url.replace(f":{rabbitmq.server.port}/", f":{network.port}/")
            first = stage.worker(concurrency=1, settings={"broker_url": url})
            result = stage.send("hold", "task")
            stage.wait_journal("start", "task")
            network.stall()  # its acknowledgement goes nowhere
            stage.gates.open("task")
            stage.assert_all_done([result])
            first.kill()
        second = stage.worker(concurrency=1)
        second.wait_log("was delivered again, and has succeeded")
        last = stage.send("note", "last")
        stage.assert_all_done([last])
        assert stage.journal.count("start", "task") == 1
        assert second.terminate() == 0

    def test_at_any_moment(self, stage: Stage) -> None:
        """Chains whose workers are killed again and again: each ends, with all its steps."""
        work, after = stage.app.tasks["work"], stage.app.tasks["after"]
        kills = 6
        results = [(work.s(f"{n}") | after.s(f"a{n}") | after.s(f"b{n}"))() for n in range(40)]
        for _ in range(kills):
            worker = stage.worker(ready=False)
            goal = stage.journal.count() + random.randrange(1, 30)
            worker.wait(
                lambda goal=goal: (
                    stage.journal.count() >= goal or len(stage.outcomes(results)) == len(results)
                ),
                f"{goal} runs",
            )
            worker.kill()
        last = stage.worker()
        stage.assert_all_done(results)
        assert [result.get(timeout=1) for result in results] == [str(n) for n in range(40)]
        # What had run, and was not acknowledged yet, has run again; no step was left out.
        assert {e.key for e in stage.journal.read("run")} == {str(n) for n in range(40)}
        steps = {f"{letter}{n}" for n in range(40) for letter in "ab"}
        assert {e.key for e in stage.journal.read("after")} == steps
        assert stage.dead_letters() == []
        assert last.terminate() == 0


def test_a_warm_stop_gives_back_at_once(stage: Stage) -> None:
    first = stage.worker(concurrency=1)
    results = [stage.send("hold", key, "open") for key in range(4)]
    stage.wait(lambda: stage.journal.count("start") == 1, "a task running")
    first.signal(signal.SIGTERM)
    first.wait_log("warm shutdown")
    second = stage.worker(concurrency=3)
    stage.wait(lambda: stage.journal.count("start") == 4, "the others to run elsewhere")
    stage.gates.open("open")
    assert first.end() == 0
    stage.assert_all_done(results)
    assert stage.journal.count("start") == stage.journal.count("end") == 4
    assert second.terminate() == 0


@pytest.mark.parametrize("driver", ["amqp", "pika"])
def test_nothing_waits_behind_a_long_task(
    make_stage: MakeStage, rabbitmq: VirtualHost, redis: RedisServer, driver: str
) -> None:
    """With a multiplier of 1 RabbitMQ itself deals out no more than what runs."""
    stage = make_stage(
        broker_url=rabbitmq.url.replace("amqp:", f"{driver}:"),
        result_backend=redis.url,
        worker_prefetch_multiplier=1,
    )
    workers = [stage.worker("-Q", "default,other", concurrency=2) for _ in range(2)]
    # As fast as they are, they do not make a worker greedy.
    stage.assert_all_done(stage.send_notes(range(200)))
    held = [stage.send("hold", key, "open") for key in range(3)]
    stage.wait(lambda: stage.journal.count("start") == 3, "three of four to be busy")
    results = [stage.send("note", f"n{n}", queue=("default", "other")[n % 2]) for n in range(40)]
    stage.wait(lambda: len(stage.outcomes(results)) == 40, "all else to run")
    stage.gates.open("open")
    stage.assert_all_done(held)
    assert [worker.terminate() for worker in workers] == [0, 0]


def test_a_message_that_need_not_be_kept(make_stage: MakeStage, rabbitmq: VirtualHost) -> None:
    stage = make_stage(result_backend="disabled://", task_default_delivery_mode=2)
    stage.app.router.queues["light"] = Queue(
        "light", Exchange("light", delivery_mode=1), routing_key="light"
    )
    stage.send("note", "kept")
    stage.send("note", "quick", delivery_mode="transient")
    stage.send("note", "light", queue="light")
    with pytest.raises(ImproperlyConfigured, match="delivery_mode=3"):
        stage.send("note", "wrong", delivery_mode=3)
    modes = [
        (message["properties"]["delivery_mode"])
        for queue in ("default", "light")
        for message in rabbitmq.server.api(
            "POST",
            f"/queues/{rabbitmq.name}/{queue}/get",
            {"count": 9, "ackmode": "ack_requeue_true", "encoding": "auto"},
        )
    ]
    assert modes == [2, 1, 1]


def test_a_worker_that_is_ready_has_its_own_queue(
    make_stage: MakeStage, redis: RedisServer
) -> None:
    own = {"news": {"exchange": "news", "exchange_type": "fanout", "exclusive": True}}
    stage = make_stage(result_backend=redis.url, task_queues=own)
    for _ in range(3):
        worker = stage.worker("-Q", "news", concurrency=1)
        result = stage.send("note", "news", exchange="news", routing_key="any")
        assert result.get(timeout=20) == "news"
        assert worker.terminate() == 0


@pytest.mark.slow
def test_how_long_a_worker_waits_for_its_broker(make_stage: MakeStage, redis: RedisServer) -> None:
    with rabbitmq_server() as server:
        patient = {"broker_connection_retry_on_startup": True}
        for settings in ({"broker_connection_retry": False}, {"broker_connection_max_retries": 1}):
            stage = make_stage(broker_url=server.url, result_backend=redis.url, **settings)
            worker = stage.worker(concurrency=1)
            server.stop()
            assert worker.end() == 1
            assert "the broker is away" in worker.log()
            early = stage.worker(ready=False)
            assert early.end() == 1
            if settings == {"broker_connection_max_retries": 1}:
                late = stage.worker(ready=False, settings=patient)
                assert late.end() == 1
                late = stage.worker(
                    ready=False, settings={**patient, "broker_connection_max_retries": 0}
                )
                late.wait_log("cannot begin, and tries again")
                server.start()
                late.wait_ready()
                assert late.terminate() == 0
            else:
                server.start()


def test_revoked_while_nobody_works(stage: Stage) -> None:
    results = stage.send_notes(range(3))
    results[1].revoke()
    worker = stage.worker()
    stage.assert_all_done(results)
    assert sorted(entry.key for entry in stage.journal.read("run")) == ["0", "2"]
    assert worker.terminate() == 0


def test_delayed_messages_outlive_all_workers(stage: Stage) -> None:
    due = time.time() + 2.5
    result = stage.send("clock", "late", countdown=2.5)
    first = stage.worker()
    first.kill()
    second = stage.worker()
    assert result.get(timeout=20) >= due
    assert second.terminate() == 0


class TestRestart:
    @pytest.fixture
    def server(self) -> Iterator[RabbitMQServer]:
        with rabbitmq_server() as server:
            yield server

    @pytest.fixture
    def broker_url(self, server: RabbitMQServer) -> str:
        return server.url

    def test_while_tasks_run_and_then_while_idle(
        self, stage: Stage, server: RabbitMQServer
    ) -> None:
        worker = stage.worker(concurrency=2)
        results = [stage.send("hold", key, "open") for key in range(6)]
        stage.wait(lambda: stage.journal.count("start") == 2, "two tasks running")
        server.stop()
        worker.wait_log("cannot consume")
        with pytest.raises(OperationalError, match="RabbitMQ"):
            stage.send("note", "refused", retry=False)
        stage.gates.open("open")
        stage.wait(lambda: stage.journal.count("end") == 2, "the tasks to go on")
        server.start()
        results.append(stage.send("note", "after"))
        stage.assert_all_done(results)
        worker.wait_log("consuming again")
        assert set(stage.outcomes(results).values()) == {"SUCCESS"}
        # What had succeeded is delivered again, and recognised.
        assert stage.journal.count("start") == stage.journal.count("end") == 6
        assert worker.log().count("cannot consume") == 1
        assert "Traceback" not in worker.log()
        server.kill()
        worker.wait(lambda: worker.log().count("cannot consume") == 2, "it to notice")
        server.start()
        assert stage.send("note", "last").get(timeout=30) == "last"
        assert worker.terminate() == 0


class TestOrders:
    """What workers were told outlives them, their connections, and RabbitMQ's process."""

    @pytest.mark.slow
    def test_a_paused_queue(self, make_stage: MakeStage, redis: RedisServer) -> None:
        with rabbitmq_server() as server:
            stage = make_stage(broker_url=server.url, broker_lease=2, result_backend=redis.url)
            first = stage.worker(concurrency=1)
            held = stage.send("hold", "open")
            stage.wait_journal("start", "open")
            results = stage.send_notes(range(3))
            stage.app.control.pause("default")
            first.wait_log("queue default is paused")
            stage.wait(lambda: stage.depth().ready == 3, "what has not begun to go back")
            first.kill()
            second = stage.worker("-Q", "default,other", concurrency=1)
            second.wait_log("queue default is paused")
            server.kill()
            second.wait_log("cannot consume")
            server.start()
            assert stage.send("note", "other", queue="other").get(timeout=20) == "other"
            assert second.terminate() == 0
            third = stage.worker(concurrency=1)
            third.wait_log("queue default is paused")
            assert stage.journal.count("run") == 1
            assert stage.journal.count("start", "open") == 1
            stage.gates.open("open")
            stage.app.control.resume("default")
            stage.assert_all_done([held, *results])
            assert third.terminate() == 0

    @pytest.mark.parametrize("driver", ["amqp", "pika"])
    def test_queues_that_were_added_and_left(
        self, make_stage: MakeStage, rabbitmq: VirtualHost, redis: RedisServer, driver: str
    ) -> None:
        with proxy(rabbitmq.server.port) as network:
            url = rabbitmq.url.replace(f":{rabbitmq.server.port}/", f":{network.port}/")
            url = url.replace("amqp:", f"{driver}:")
            stage = make_stage(result_backend=redis.url)
            worker = stage.worker("-Q", "default,left", settings={"broker_url": url})
            control = stage.app.control
            (added,) = control.add_consumer("added", reply=True, timeout=10, limit=1)
            assert "ok" in added["worker1@here"]
            (left,) = control.cancel_consumer("left", reply=True, timeout=10, limit=1)
            assert "ok" in left["worker1@here"]
            for _ in range(3):
                away = worker.log().count("cannot consume")
                network.hang_up()
                worker.wait(
                    lambda away=away: worker.log().count("cannot consume") > away, "it to notice"
                )
                waits = stage.send("note", "waits", queue="left")
                done = [stage.send("note", name, queue=name) for name in ("added", "default")]
                assert [result.get(timeout=20) for result in done] == ["added", "default"]
                assert not waits.ready()
            assert stage.app.broker.depth("left").ready == 3
            assert worker.terminate() == 0


class TestSilence:
    @pytest.fixture
    def network(self, rabbitmq: VirtualHost) -> Iterator[Proxy]:
        with proxy(rabbitmq.server.port) as made:
            yield made

    def through(self, network: Proxy, rabbitmq: VirtualHost) -> str:
        return rabbitmq.url.replace(f":{rabbitmq.server.port}/", f":{network.port}/")

    @pytest.mark.parametrize("driver", ["amqp", "pika"])
    def test_of_the_network(
        self, stage: Stage, rabbitmq: VirtualHost, network: Proxy, driver: str
    ) -> None:
        url = self.through(network, rabbitmq).replace("amqp:", f"{driver}:")
        settings = {"broker_url": url, "broker_heartbeat": 1, "broker_connection_timeout": 0.5}
        worker = stage.worker(concurrency=1, settings=settings)
        held = stage.send("hold", "held")
        stage.wait_journal("start", "held")
        network.stall()
        worker.wait_log("cannot consume")
        network.heal()
        result = stage.send("note", "after")
        stage.gates.open("held")
        stage.assert_all_done([held, result])
        assert stage.journal.count("start", "held") == 1
        assert worker.terminate() == 0

    @pytest.mark.parametrize("driver", ["amqp", "pika"])
    def test_to_a_publisher(
        self, make_stage: MakeStage, rabbitmq: VirtualHost, network: Proxy, driver: str
    ) -> None:
        url = self.through(network, rabbitmq).replace("amqp:", f"{driver}:")
        stage = make_stage(broker_url=f"{url}?confirm_timeout=0.5", result_backend="disabled://")
        stage.send("note", "before")
        network.stall()
        begun = time.monotonic()
        with pytest.raises(OperationalError):
            stage.send("note", "unsure", retry=False)
        assert time.monotonic() - begun < 10
        network.heal()
        stage.send("note", "after")
        assert stage.depth().ready >= 2

    @pytest.mark.parametrize("driver", ["amqp", "pika"])
    def test_in_place_of_a_confirm(
        self,
        make_stage: MakeStage,
        rabbitmq: VirtualHost,
        redis: RedisServer,
        network: Proxy,
        driver: str,
    ) -> None:
        """What was published and not confirmed is sent again, and runs once."""
        url = self.through(network, rabbitmq).replace("amqp:", f"{driver}:")
        stage = make_stage(broker_url=url, broker_lease=2, result_backend=redis.url)
        direct = {"broker_url": rabbitmq.url}
        stage.send_notes(["before"])
        network.cut_reply_to(b"waiting")
        waiting = stage.send("note", "waiting")
        stage.wait(lambda: stage.depth().ready == 3, "one message, and its copy")
        worker = stage.worker(concurrency=1, settings=direct)
        network.cut_reply_to(b"quick")
        results = [waiting, stage.send("note", "quick")]
        other = stage.worker(concurrency=1, settings=direct)
        network.cut_reply_to(b"slow")
        results += [stage.send("hold", "slow"), stage.send("note", "last")]
        stage.wait_journal("start", "slow")
        stage.wait(lambda: stage.logs().count("was sent twice") == 3, "copies to be dropped")
        stage.gates.open("slow")
        stage.assert_all_done(results)
        assert network.cuts == 3
        for key in ("waiting", "quick"):
            assert stage.journal.count("run", key) == 1
        assert stage.journal.count("start", "slow") == 1
        assert [worker.terminate(), other.terminate()] == [0, 0]


@pytest.mark.parametrize("driver", ["amqp", "pika"])
class TestRefusals:
    @pytest.fixture
    def broker_url(self, rabbitmq: VirtualHost, driver: str) -> str:
        return rabbitmq.url.replace("amqp:", f"{driver}:")

    def test_a_full_queue(self, stage: Stage) -> None:
        full = Queue("full", max_length=2)
        stage.app.broker.declare([full])
        stage.app.router.queues["full"] = full
        for _ in range(2):
            stage.send("note", "fits", queue="full")
        with pytest.raises(OperationalError, match=r"refused a message to 'full'.*make room"):
            stage.send("note", "does not", queue="full", retry=False)
        assert stage.app.broker.depth("full").ready == 2

    def test_no_route(self, stage: Stage) -> None:
        with pytest.raises(QueueNotFound, match=r"'amq\.direct'.*'nowhere'"):
            stage.send("note", "lost", exchange="amq.direct", routing_key="nowhere")
        with pytest.raises(QueueNotFound, match="no such exchange"):
            stage.send("note", "lost", exchange="not there", routing_key="nowhere")
        assert stage.send("note", "kept").id

    def test_what_is_sent_again_after_a_refusal_is_sent_once(self, stage: Stage) -> None:
        """Those of a batch that were confirmed are not published a second time."""
        full = Queue("full", max_length=1)
        stage.app.broker.declare([full])
        stage.app.router.queues["full"] = full
        sent = [stage.app.tasks["note"].s(n).set(queue="full" if n > 2 else None) for n in range(5)]
        with pytest.raises(OperationalError, match="refused"):
            stage.app.send_many(sent)
        assert stage.depth().ready == 3


@pytest.mark.slow
class TestConsumerTimeout:
    """RabbitMQ takes away what was not acknowledged for too long, and gives it to others."""

    @pytest.fixture
    def broker_url(self) -> Iterator[str]:
        # It looks once a minute, unless it is told otherwise.
        often = "[{rabbit, [{channel_tick_interval, 1000}]}]."
        with rabbitmq_server(config={"consumer_timeout": "4000"}, advanced=often) as server:
            yield server.url

    def test_a_task_that_is_longer_runs_once(self, stage: Stage, tmp_path: Path) -> None:
        first = stage.worker(concurrency=1)
        held = stage.send("hold", "long")
        stage.wait_journal("start", "long")
        second = stage.worker(concurrency=1)
        first.wait_log("cannot consume", timeout=60)
        stage.wait(
            lambda: "and waits" in second.log() or "delivered again while" in first.log(),
            "it to be delivered again",
        )
        stage.gates.open("long")
        stage.assert_all_done([held])
        assert stage.journal.count("start", "long") == 1
        assert [first.terminate(), second.terminate()] == [0, 0]


@pytest.mark.slow
def test_a_memory_alarm(make_stage: MakeStage) -> None:
    """Publishers wait for a bounded time, and are told why."""
    with rabbitmq_server() as server:
        for driver in ("amqp", "pika"):
            url = server.url.replace("amqp:", f"{driver}:") + "?confirm_timeout=1.5"
            stage = make_stage(broker_url=url, result_backend="disabled://")
            stage.send("note", "before")
            server.control("set_vm_memory_high_watermark", "0.000001")
            begun = time.monotonic()
            with pytest.raises(OperationalError, match="blocked"):
                stage.send("note", "refused", retry=False)
            assert time.monotonic() - begun < 10
            server.control("set_vm_memory_high_watermark", "0.4")
            stage.wait(lambda stage=stage: stage.send("note", "after").id, "it to be unblocked")
