"""Every broker: revoked tasks are told to workers, and known to those that start later."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.brokers import PATIENCE, Consumers, Site

pytestmark = pytest.mark.needs("revoking")


async def test_the_first_question_is_answered_at_once(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    assert await receiver.revocations() == {}


async def test_what_was_revoked_before(site: Site, consumer: Consumers) -> None:
    site.broker.revoke(["a", "b"], 60)
    site.broker.revoke(["b"], 60, "SIGTERM")
    assert await (await consumer("q")).revocations() == {"a": "", "b": "SIGTERM"}


async def test_whoever_waits_is_told(site: Site, consumer: Consumers) -> None:
    receivers = [await consumer("q") for _ in range(2)]
    for receiver in receivers:
        assert await receiver.revocations() == {}
    for n in range(3):
        waiting = [asyncio.create_task(receiver.revocations()) for receiver in receivers]
        await asyncio.sleep(0)
        await asyncio.to_thread(site.broker.revoke, [f"task-{n}"], 60)
        async with asyncio.timeout(PATIENCE):
            for found in await asyncio.gather(*waiting):
                assert found[f"task-{n}"] == ""


async def test_it_is_forgotten_in_time(site: Site, consumer: Consumers) -> None:
    site.broker.revoke(["short"], 0.05)
    site.broker.revoke(["long"], 60)
    await asyncio.sleep(0.1)  # the time itself, which the broker's clock must see pass
    assert await (await consumer("q")).revocations() == {"long": ""}


async def test_an_id_with_spaces(site: Site, consumer: Consumers) -> None:
    site.broker.revoke(["a task of mine"], 60)
    site.broker.revoke(["another one "], 60, "SIGTERM")
    found = await (await consumer("q")).revocations()
    assert found == {"a task of mine": "", "another one ": "SIGTERM"}


async def test_revoking_nothing(site: Site, consumer: Consumers) -> None:
    site.broker.revoke([], 60)
    assert await (await consumer("q")).revocations() == {}
