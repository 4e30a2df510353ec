"""A Redis that goes away, falls silent or refuses, and what is accepted by it nonetheless."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from taskq.brokers.base import QueueDepth
from taskq.exceptions import OperationalError
from tests.faults.conftest import MakeStage
from tests.faults.proxy import Proxy, proxy
from tests.faults.stage import CHECKOUT, Stage, WorkerProcess
from tests.servers import HOST, RedisServer, redis_server

LEASE = 60
"""Seconds of a lease that no test outlives: what runs again would run for another reason."""

PATIENTLY = {"max_retries": 500, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
"""A retry policy that outlasts the absence of a server."""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of one's own, which keeps what it has acknowledged."""
    with redis_server(persist=True) as server:
        yield server


@pytest.fixture
def broker_url(server: RedisServer) -> str:
    return server.url


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage(broker_lease=LEASE)


@contextmanager
def producer(stage: Stage, name: str) -> Iterator[subprocess.Popen[str]]:
    """A process that sends tasks until it is killed; its output are the ids of the accepted."""
    command = [sys.executable, "-m", "tests.faults.producer", str(stage.folder)]
    with subprocess.Popen(
        [*command, json.dumps(stage.settings), name],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def start(server: RedisServer, stage: Stage) -> None:
    """Start it again; this process hangs up what has ended with it."""
    server.start()
    stage.app.broker.store.close()
    stage.app.backend.client.close()


def assert_told_once(worker: WorkerProcess, *texts: str) -> None:
    """Each of these stands in the log once: a long absence does not fill the disk."""
    log = worker.log()
    assert {text: log.count(text) for text in texts} == dict.fromkeys(texts, 1)


class TestRestart:
    def test_while_idle(self, stage: Stage, server: RedisServer) -> None:
        worker = stage.worker()
        assert stage.send("note", "before").get(timeout=20) == "before"
        server.stop()
        worker.wait_log("cannot consume")
        start(server, stage)
        result = stage.send("note", "after")
        assert result.get(timeout=20) == "after"
        stage.assert_all_done([result])
        assert_told_once(worker, "cannot consume", "consuming again")
        assert "Traceback" not in worker.log()
        assert worker.terminate() == 0

    def test_that_loses_everything(self, make_stage: MakeStage) -> None:
        """A Redis without persistence comes back empty: the worker declares its queues again."""
        with redis_server() as forgetful:
            stage = make_stage(broker_lease=LEASE, broker_url=forgetful.url)
            worker = stage.worker()
            held = stage.send("hold", "held")
            stage.wait_journal("start", "held")
            forgetful.stop()
            worker.wait_log("cannot consume")
            start(forgetful, stage)
            result = stage.send("note", "after")
            assert result.get(timeout=20) == "after"
            stage.gates.open("held")
            stage.assert_all_done([held, result])
            assert stage.journal.count("start") == 1
            assert worker.terminate() == 0

    def test_while_tasks_run(self, stage: Stage, server: RedisServer) -> None:
        worker = stage.worker(concurrency=2)
        results = [stage.send("hold", key, "open") for key in range(6)]
        stage.wait(lambda: stage.journal.count("start") == 2, "two tasks running")
        stage.wait(lambda: stage.depth().leased == 6, "the others in the worker")
        server.stop()
        worker.wait_log("cannot consume")
        stage.gates.open("open")
        worker.wait_log("cannot write outcomes")
        start(server, stage)
        results.append(stage.send("note", "after"))
        stage.assert_all_done(results)
        worker.wait_log("consuming again")
        assert set(stage.outcomes(results).values()) == {"SUCCESS"}
        assert stage.journal.count("start") == stage.journal.count("end") == 6
        assert_told_once(worker, "cannot consume", "consuming again")
        assert_told_once(worker, "cannot write outcomes", "outcomes can be written again")
        assert worker.terminate() == 0

    def test_killed_in_the_middle_of_a_flood(
        self, make_stage: MakeStage, server: RedisServer
    ) -> None:
        """What it has acknowledged is on its disk; what it has not is sent again, and known."""
        stage = make_stage(
            # What was given to the worker in a reply that it never got waits for this long.
            broker_lease=5,
            task_publish_retry_policy=PATIENTLY,
        )
        workers = [stage.worker(), stage.worker()]
        accepted: list[str] = []
        with producer(stage, "p") as process:
            assert process.stdout is not None
            for _ in range(4):
                accepted += [process.stdout.readline().strip() for _ in range(300)]
                server.kill()
                server.start()
            accepted += [process.stdout.readline().strip() for _ in range(300)]
            process.kill()
            accepted += process.stdout.read().rpartition("\n")[0].split()
        stage.app.close()
        assert all(accepted), "the producer died"
        results = [stage.app.AsyncResult(task_id) for task_id in accepted]
        stage.assert_all_done(results)
        assert set(stage.outcomes(results).values()) == {"SUCCESS"}
        runs = [entry.key for entry in stage.journal.read("run")]
        assert len(set(runs)) == len(runs) >= len(accepted)
        assert [worker.terminate() for worker in workers] == [0, 0]

    def test_a_stop_while_it_is_away(self, stage: Stage, server: RedisServer) -> None:
        """An idle worker ends in time, though nobody answers."""
        worker = stage.worker()
        server.stop()
        worker.wait_log("cannot consume")
        assert worker.terminate() in (0, 1)
        assert "Traceback" not in worker.log()
        start(server, stage)
        assert stage.depth() == QueueDepth()


class TestSilence:
    """Connections are open, and nothing comes."""

    @pytest.fixture
    def stage(self, make_stage: MakeStage) -> Stage:
        return make_stage(broker_lease=3)

    def test_of_the_server(self, stage: Stage, server: RedisServer) -> None:
        worker = stage.worker(concurrency=2, settings={"redis_socket_timeout": 0.5})
        results = [stage.send("hold", key, "open") for key in range(2)]
        stage.wait(lambda: stage.journal.count("start") == 2, "two tasks running")
        server.pause()
        worker.wait_log("cannot consume")
        stage.gates.open("open")
        worker.wait_log("cannot write outcomes")
        server.resume()
        results.append(stage.send("note", "after"))
        stage.assert_all_done(results)
        worker.wait_log("consuming again")
        assert stage.journal.count("start") == stage.journal.count("end") == 2
        assert_told_once(worker, "cannot write outcomes", "outcomes can be written again")
        assert worker.terminate() == 0

    def test_of_the_network(self, stage: Stage, network: Proxy) -> None:
        """Packets get lost: connections that were open then never say anything again."""
        worker = stage.worker(
            concurrency=2,
            settings={"redis_socket_timeout": 0.5, "broker_url": through(network)},
        )
        results = [stage.send("hold", key, "open") for key in range(2)]
        stage.wait(lambda: stage.journal.count("start") == 2, "two tasks running")
        network.stall()
        worker.wait_log("cannot consume")
        stage.gates.open("open")
        worker.wait_log("cannot write outcomes")
        network.heal()
        results.append(stage.send("note", "after"))
        stage.assert_all_done(results)
        worker.wait_log("consuming again")
        assert stage.journal.count("start") == stage.journal.count("end") == 2
        assert_told_once(worker, "cannot write outcomes", "outcomes can be written again")
        assert worker.terminate() == 0

    def test_while_idle(self, stage: Stage, server: RedisServer, network: Proxy) -> None:
        worker = stage.worker(
            settings={
                "redis_socket_timeout": 0.5,
                "broker_url": through(network),
                "redis_client_name": "the-worker",
            }
        )
        stage.wait(lambda: listeners(server), "it to listen")
        before = listeners(server)
        network.stall()
        worker.wait_log("cannot consume")
        network.heal()
        assert stage.send("note", "after").get(timeout=20) == "after"
        assert_told_once(worker, "cannot consume", "consuming again")
        stage.wait(lambda: listeners(server) - before, "it to listen again")
        assert worker.terminate() == 0

    def test_whoever_waits_for_a_result_gets_it(
        self, make_stage: MakeStage, network: Proxy
    ) -> None:
        stage = make_stage(broker_lease=LEASE, redis_socket_timeout=0.5)
        waiting = make_stage(
            broker_lease=LEASE, redis_socket_timeout=0.5, broker_url=through(network)
        )
        worker = stage.worker()
        result = waiting.send("note", "before")
        assert result.get(timeout=20) == "before"
        network.stall()
        held = stage.send("note", "after")
        stage.assert_all_done([held])
        with pytest.raises(OperationalError):
            waiting.app.AsyncResult(held.id).get(timeout=2)
        network.heal()
        assert waiting.app.AsyncResult(held.id).get(timeout=20) == "after"
        assert worker.terminate() == 0


@pytest.fixture
def network(server: RedisServer) -> Iterator[Proxy]:
    """What lies between some clients and the server."""
    with proxy(server.port) as made:
        yield made


def listeners(server: RedisServer) -> set[str]:
    """The connections on which "the-worker" listens for news."""
    rows = server.ask("CLIENT", "LIST", "TYPE", "pubsub").decode().splitlines()
    return {row.split()[0] for row in rows if " name=the-worker " in row}


def through(network: Proxy) -> str:
    """The server's URL by way of the proxy."""
    return f"redis://{HOST}:{network.port}/0"


class TestPublishing:
    def test_to_a_server_that_is_down(self, stage: Stage, server: RedisServer) -> None:
        note = stage.app.tasks["note"]
        note.delay("before")
        server.stop()
        begun = time.monotonic()
        with pytest.raises(OperationalError, match=rf"cannot reach Redis at {HOST}:{server.port}"):
            note.delay("refused")
        # Four attempts and the pauses between them, 0.6 s in all; the rest is for a busy machine.
        assert 0.5 < time.monotonic() - begun < 5
        server.start()
        note.delay("after")
        assert stage.depth() == QueueDepth(ready=2)

    async def test_from_a_loop(self, stage: Stage, server: RedisServer) -> None:
        note = stage.app.tasks["note"]
        await note.adelay("before")
        server.stop()
        begun = time.monotonic()
        with pytest.raises(OperationalError, match=rf"cannot reach Redis at {HOST}:{server.port}"):
            await note.adelay("refused")
        assert 0.5 < time.monotonic() - begun < 5
        server.start()
        await note.adelay("after")
        assert stage.depth() == QueueDepth(ready=2)

    def test_without_trying_again(self, stage: Stage, server: RedisServer) -> None:
        server.stop()
        begun = time.monotonic()
        with pytest.raises(OperationalError, match="cannot reach Redis"):
            stage.send("note", "refused", retry=False)
        assert time.monotonic() - begun < 2

    def test_the_server_is_back_in_time(self, make_stage: MakeStage, server: RedisServer) -> None:
        stage = make_stage(task_publish_retry_policy=PATIENTLY)
        stage.send("note", "before")
        server.kill()
        server.launch()  # and does not wait for it
        stage.send("note", "after")
        assert stage.depth() == QueueDepth(ready=2)

    def test_to_a_server_that_is_silent(self, make_stage: MakeStage, server: RedisServer) -> None:
        stage = make_stage(redis_socket_timeout=0.3)
        note = stage.app.tasks["note"]
        note.delay("before")
        server.pause()
        begun = time.monotonic()
        with pytest.raises(OperationalError, match="cannot reach Redis"):
            note.delay("unsure")
        assert 1.2 < time.monotonic() - begun < 6
        server.resume()
        # It lay in the server's socket; each of the four attempts is known for the same one.
        stage.wait(lambda: stage.depth().ready == 2, "the message")
        note.delay("after")
        assert stage.depth() == QueueDepth(ready=3)

    async def test_to_a_silent_one_from_a_loop(
        self, make_stage: MakeStage, server: RedisServer
    ) -> None:
        stage = make_stage(redis_socket_timeout=0.3)
        note = stage.app.tasks["note"]
        await note.adelay("before")
        server.pause()
        begun = time.monotonic()
        with pytest.raises(OperationalError, match="cannot reach Redis"):
            await note.adelay("unsure")
        assert 1.2 < time.monotonic() - begun < 6
        server.resume()
        stage.wait(lambda: stage.depth().ready == 2, "the message")
        await note.adelay("after")
        assert stage.depth() == QueueDepth(ready=3)


class TestLostReply:
    """The message is accepted, and the connection breaks before anybody is told."""

    @pytest.fixture
    def stage(self, make_stage: MakeStage, network: Proxy) -> Stage:
        return make_stage(broker_lease=LEASE, broker_url=through(network))

    def test_to_one_message(self, stage: Stage, network: Proxy) -> None:
        note = stage.app.tasks["note"]
        for number in range(5):
            note.delay("before")
            network.cut_reply_to(b"EVALSHA")
            note.delay("once")
            assert network.cuts == number + 1
            assert stage.depth() == QueueDepth(ready=2 * number + 2)

    async def test_from_a_loop(self, stage: Stage, network: Proxy) -> None:
        note = stage.app.tasks["note"]
        for number in range(5):
            await note.adelay("before")
            network.cut_reply_to(b"EVALSHA")
            await note.adelay("once")
            assert network.cuts == number + 1
            assert stage.depth() == QueueDepth(ready=2 * number + 2)

    def test_to_many(self, stage: Stage, network: Proxy) -> None:
        stage.send("note", "before")
        network.cut_reply_to(b"EVALSHA")
        stage.send_notes(range(300))
        assert network.cuts == 1
        assert stage.depth() == QueueDepth(ready=301)

    def test_to_one_that_is_sent_again_by_hand(self, stage: Stage, network: Proxy) -> None:
        """Whoever sends the same message again after the error sends it once."""
        stage.send("note", "before")
        network.cut_reply_to(b"EVALSHA")
        with pytest.raises(OperationalError):
            stage.send("note", "once", task_id="the-same", retry=False)
        stage.send("note", "once", task_id="the-same")
        assert stage.depth() == QueueDepth(ready=2)

    def test_to_a_settlement(self, stage: Stage, network: Proxy) -> None:
        """The worker writes the outcome again, and what follows is sent once."""
        worker = stage.worker(concurrency=1)
        chain = stage.app.tasks["hold"].s("task") | stage.app.tasks["after"].s("next")
        result = chain.apply_async()
        assert result.parent is not None
        stage.wait_journal("start", "task")
        network.cut_reply_to(result.parent.id.encode())
        stage.gates.open("task")
        result.get(timeout=20)
        stage.assert_all_done([result, result.parent])
        assert network.cuts == 1
        assert stage.journal.count("start", "task") == 1
        assert stage.journal.count("after", "next") == 1
        assert worker.terminate() == 0


class TestRefusals:
    def fill(self, server: RedisServer) -> None:
        """Let it have no more memory than it uses now."""
        server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.call("CONFIG", "SET", "maxmemory", "1")

    def test_no_memory(self, stage: Stage, server: RedisServer) -> None:
        """Publishers are told; outcomes are held until there is room."""
        worker = stage.worker(concurrency=2)
        results = [stage.send("hold", key, "open") for key in range(6)]
        stage.wait(lambda: stage.journal.count("start") == 2, "two tasks running")
        stage.wait(lambda: stage.depth().leased == 6, "the others in the worker")
        self.fill(server)
        begun = time.monotonic()
        with pytest.raises(OperationalError, match=r"out of memory.*raise maxmemory"):
            stage.send("note", "refused")
        assert time.monotonic() - begun < 5
        stage.gates.open("open")
        worker.wait_log("cannot write outcomes")
        stage.wait(lambda: stage.journal.count("end") >= 2, "the tasks to go on")
        server.call("CONFIG", "SET", "maxmemory", "0")
        results.append(stage.send("note", "accepted"))
        stage.assert_all_done(results)
        assert set(stage.outcomes(results).values()) == {"SUCCESS"}
        assert stage.journal.count("start") == stage.journal.count("end") == 6
        assert stage.journal.count("run") == 1
        assert_told_once(worker, "cannot write outcomes", "outcomes can be written again")
        assert worker.terminate() == 0

    def test_what_needs_no_memory_goes_on_without(
        self, make_stage: MakeStage, server: RedisServer
    ) -> None:
        """Workers make room by doing what is there, if they have nothing to keep for it."""
        stage = make_stage(broker_lease=LEASE, task_ignore_result=True)
        worker = stage.worker(concurrency=1)
        stage.send("hold", "first")
        stage.wait_journal("start", "first")
        stage.send_notes(range(3000))
        self.fill(server)
        begun = time.monotonic()
        stage.wait(lambda: time.monotonic() > begun + 1.5, "it to be due to look for lost leases")
        stage.gates.open("first")
        stage.wait(lambda: stage.depth() == QueueDepth(), "an empty queue")
        assert stage.journal.count("run") == 3000
        assert "cannot" not in worker.log()
        assert worker.terminate() == 0

    def test_a_replica(self, stage: Stage, server: RedisServer) -> None:
        """A failover by hand: for a while it takes no writes."""
        worker = stage.worker(concurrency=2)
        results = [stage.send("hold", key, "open") for key in range(6)]
        stage.wait(lambda: stage.journal.count("start") == 2, "two tasks running")
        server.call("REPLICAOF", HOST, "1")
        worker.wait_log("cannot consume")
        with pytest.raises(OperationalError, match="it is a replica"):
            stage.send("note", "refused")
        stage.gates.open("open")
        worker.wait_log("cannot write outcomes")
        server.call("REPLICAOF", "NO", "ONE")
        results.append(stage.send("note", "accepted"))
        stage.assert_all_done(results)
        worker.wait_log("consuming again")
        assert stage.journal.count("start") == stage.journal.count("end") == 6
        assert stage.journal.count("run") == 1
        assert_told_once(worker, "cannot consume", "consuming again")
        assert_told_once(worker, "cannot write outcomes", "outcomes can be written again")
        assert worker.terminate() == 0


class TestResultsElsewhere:
    @pytest.fixture
    def results(self) -> Iterator[RedisServer]:
        with redis_server(persist=True) as results:
            yield results

    def test_they_are_stored_when_their_server_is_back(
        self, make_stage: MakeStage, results: RedisServer
    ) -> None:
        stage = make_stage(broker_lease=2, result_backend=results.url)
        worker = stage.worker(concurrency=2)
        assert stage.send("note", "before").get(timeout=20) == "before"
        results.stop()
        sent = stage.send_notes(range(200))
        worker.wait_log("cannot write outcomes")
        stage.wait(lambda: stage.journal.count("run") > 3, "the tasks to go on")
        # Longer than the lease: what waits to be stored is not given to anybody else.
        other = stage.worker(concurrency=1)
        begun = time.monotonic()
        stage.wait(lambda: time.monotonic() > begun + 3, "the lease to end")
        results.start()
        stage.assert_all_done(sent)
        assert set(stage.outcomes(sent).values()) == {"SUCCESS"}
        assert stage.journal.count("run") == 201
        assert_told_once(worker, "cannot write outcomes", "outcomes can be written again")
        assert [worker.terminate(), other.terminate()] == [0, 0]
