"""Revoked tasks do not run: wherever their message is, whoever starts later."""

from __future__ import annotations

import time

import pytest

from taskq import states
from taskq.brokers.base import QueueDepth
from tests.faults.conftest import MakeStage, and_rabbitmq
from tests.faults.stage import Stage


@and_rabbitmq
@pytest.mark.usefixtures("leases")
def test_before_it_starts(stage: Stage) -> None:
    worker = stage.worker(concurrency=1)
    running = stage.send("hold", "gate")
    stage.wait_journal("start", "gate")
    waiting = stage.send("note", "waiting")
    other = stage.send("note", "other")
    stage.wait(lambda: stage.depth().leased == 3, "the worker to hold all of them")
    waiting.revoke()
    stage.wait(lambda: worker.log().count("is dropped: revoked") == 1, "it to be dropped")
    stage.gates.open("gate")
    stage.assert_all_done([running, waiting, other])
    assert waiting.state == states.REVOKED
    assert stage.journal.count("run", "waiting") == 0
    assert other.get(timeout=5) == "other"
    assert worker.terminate() == 0


@and_rabbitmq
def test_while_no_worker_is_there_and_over_restarts(stage: Stage) -> None:
    results = stage.send_notes(range(10))
    later = stage.send("note", "later", countdown=1.5)
    stage.app.control.revoke([results[3].id, results[7].id, later.id])
    assert stage.worker().terminate() == 0
    stage.worker()
    stage.assert_all_done([*results, later])
    states_found = [result.state for result in results]
    assert [n for n, state in enumerate(states_found) if state == states.REVOKED] == [3, 7]
    assert later.state == states.REVOKED
    assert {entry.key for entry in stage.journal.read("run")} == set("01245689")


@and_rabbitmq
def test_terminated_while_it_runs(stage: Stage) -> None:
    worker = stage.worker(concurrency=2)
    victim, neighbour = stage.send("hold", "victim"), stage.send("hold", "neighbour")
    stage.wait_journal("start", "victim")
    stage.wait_journal("start", "neighbour")
    victim.revoke()  # without terminate it goes on
    victim.revoke(terminate=True)
    stage.wait(lambda: victim.ready(), "its end")
    assert victim.state == states.REVOKED
    stage.gates.open("neighbour")
    stage.assert_all_done([victim, neighbour])
    assert neighbour.successful()
    assert stage.journal.count("start", "victim") == 1
    assert stage.depth() == QueueDepth()
    after = stage.send("note", "after")
    assert after.get(timeout=20) == "after"
    assert worker.terminate() == 0


@and_rabbitmq
def test_what_is_remembered_is_forgotten(make_stage: MakeStage) -> None:
    stage = make_stage(worker_revoke_expires=0.5)
    result = stage.send("note", "again")
    result.revoke()
    began = time.time()
    stage.wait(lambda: time.time() > began + 0.6, "the revocation to be forgotten")
    stage.worker()
    assert result.get(timeout=20) == "again"
