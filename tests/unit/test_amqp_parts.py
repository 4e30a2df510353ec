"""The parts of the AMQP broker that need no server."""

from __future__ import annotations

import ssl
import time
from typing import Any

import pytest

from taskq.brokers.amqp import topology
from taskq.brokers.amqp.open_tags import PATIENCE, OpenTags
from taskq.brokers.amqp.publishing import Attempts, delayed
from taskq.brokers.amqp.wire import (
    COUNT,
    DELIVERIES,
    DUE,
    again,
    crashes,
    deliveries,
    to_message,
    to_parcel,
    waits,
)
from taskq.exceptions import DecodeError, ImproperlyConfigured
from taskq.message import TaskMessage
from taskq.routing import Broadcast, Exchange, Queue, binding, topic_matches
from taskq.settings import Settings
from taskq.stores.amqp.address import Address, address
from taskq.stores.amqp.links import Bind, Confirms, DeclareExchange, DeclareQueue
from taskq.stores.amqp.nodes import Node
from taskq.stores.amqp.parcels import Arrival, Parcel

HERE = Address("amqp://here", "amqp", (Node("here", 5672, "guest", "guest", "/"),))
QUORUM = Address("amqp://here", "amqp", HERE.nodes, queue_type="quorum", max_priority=3)


def message(**more: Any) -> TaskMessage:
    return TaskMessage({"id": "a", "task": "proj.add", "retries": 0}, b"[]", **more)


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "node"),
        [
            ("amqp://", Node("localhost", 5672, "guest", "guest", "/")),
            ("amqp://me:p%40ss@there:1234/%2F", Node("there", 1234, "me", "p@ss", "/")),
            ("pika://there//", Node("there", 5672, "guest", "guest", "/")),
            ("amqps://there/proj", Node("there", 5671, "guest", "guest", "proj")),
        ],
    )
    def test_one_node(self, url: str, node: Node) -> None:
        assert list(address(url, Settings()).nodes) == [node]

    def test_several_nodes(self) -> None:
        found = address("amqp://a/x;amqp://b:1/x", Settings())
        assert [(node.host, node.port) for node in found.nodes] == [("a", 5672), ("b", 1)]

    def test_the_node_that_answered_last_is_tried_first(self) -> None:
        nodes = address("amqp://a;b;c", Settings()).nodes
        tried = []
        for node in nodes:
            tried.append(node.host)
            if node.host == "b":
                break
        assert tried == ["a", "b"]
        assert [node.host for node in nodes] == ["b", "c", "a"]

    def test_nodes_in_any_order(self) -> None:
        nodes = address("amqp://a;b;c", Settings(broker_failover_strategy="shuffle")).nodes
        orders = {tuple(node.host for node in nodes) for _ in range(200)}
        assert len(orders) == 6

    def test_a_list_of_nodes(self) -> None:
        conf = Settings(broker_url=["amqp://a", "amqp://b:1"])
        assert conf.broker_url == "amqp://a;amqp://b:1"

    def test_an_order_that_there_is_none(self) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"'best'.*round-robin, shuffle"):
            address("amqp://a", Settings(broker_failover_strategy="best"))

    def test_options_of_the_url_and_of_the_settings(self) -> None:
        conf = Settings({"broker_heartbeat": 7, "broker_use_ssl": {"ca_certs": "/ca.pem"}})
        found = address("pikas://a?confirm_timeout=2.5&verify=verify_none", conf)
        assert (found.driver, found.heartbeat, found.confirm_timeout) == ("pika", 7, 2.5)
        assert found.tls is not None
        assert (found.tls.ca_certs, found.tls.cert_reqs) == ("/ca.pem", ssl.CERT_NONE)
        assert not found.tls.check_hostname

    @pytest.mark.parametrize(
        ("url", "complaint"),
        [
            ("amqp://me:secret@a?colour=red", r"amqp://me:\*\*\*@a.*'colour'.*confirm_timeout"),
            ("amqp://a?heartbeat=soon", "heartbeat='soon'"),
            ("amqp://a:port", "port"),
            ("amqps://a?cert_reqs=perhaps", "'perhaps'"),
        ],
    )
    def test_mistakes(self, url: str, complaint: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=complaint):
            address(url, Settings())

    def test_a_type_that_does_not_exist(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="task_default_queue_type='stream'"):
            address("amqp://", Settings({"task_default_queue_type": "stream"}))


class TestWire:
    def test_a_message_comes_back_as_it_went(self) -> None:
        sent = message(priority=4, reply_to="there", once="step", routing_key="q", delivery_mode=1)
        sent.headers["timelimit"] = [2.5, None]
        parcel = to_parcel(sent, 2)
        parcel.headers["timelimit"] = [2, None]  # what pika makes of it
        assert to_message(parcel) == sent

    def test_when_it_is_due(self) -> None:
        moment = time.time() + 100
        parcel = to_parcel(message(due=moment), 2)
        assert to_message(parcel).due == moment
        assert 99 < waits(parcel, time.time()) <= 100
        assert waits(to_parcel(message(), 2), time.time()) == 0

    def test_a_moment_that_is_none_is_now(self) -> None:
        parcel = to_parcel(message(), 2)
        parcel.headers["eta"] = "tomorrow"
        assert waits(parcel, time.time()) == 0

    @pytest.mark.parametrize("headers", [{}, {"id": "a"}, {"id": 1, "task": "t"}])
    def test_what_is_no_task_call(self, headers: dict[str, Any]) -> None:
        with pytest.raises(DecodeError):
            to_message(Parcel(b"?", headers))

    def test_counting(self) -> None:
        parcel = to_parcel(message(), 2)
        assert deliveries(Arrival(parcel, "q", 1, False)) == 1
        assert deliveries(Arrival(parcel, "q", 1, True)) == 2
        quorum = Parcel(b"", {**parcel.headers, COUNT: 4})
        assert deliveries(Arrival(quorum, "q", 1, True)) == 5
        copy = again(quorum, "q", {DELIVERIES: 5, DUE: None})
        assert copy.headers[DELIVERIES] == 5
        assert not {COUNT, DUE} & copy.headers.keys()
        assert crashes(Arrival(copy, "q", 1, False)) == 0

    def test_what_others_write_into_it_is_left_out(self) -> None:
        parcel = to_parcel(message(), 2)
        passed = {"x-death": [{}], "x-first-death-queue": "q", COUNT: 1}
        parcel.headers = {**parcel.headers, **passed, "x-mine": "kept"}
        assert to_message(parcel).headers == {**message().headers, "x-mine": "kept"}


class TestOpenTags:
    def tags(self, count: int) -> OpenTags:
        tags = OpenTags()
        for tag in range(1, count + 1):
            tags.add(tag)
        return tags

    def test_what_is_done_waits_for_what_came_before(self) -> None:
        tags = self.tags(7)
        tags.finish([4, 2])
        assert tags.acknowledge(0.0, 10) == (0, [])
        assert tags.waiting
        assert 4 not in tags
        tags.finish([1, 3, 6])
        assert tags.acknowledge(0.01, 10) == (4, [])
        tags.finish([5, 7])
        assert tags.acknowledge(0.02, 10) == (7, [])
        assert len(tags) == 0
        assert not tags.waiting

    def test_not_for_long(self) -> None:
        tags = self.tags(5)
        tags.finish([1, 3])
        assert tags.acknowledge(1.0, 10) == (1, [])
        assert tags.acknowledge(1.0 + PATIENCE, 10) == (0, [3])
        tags.finish([5])
        assert tags.acknowledge(1.1 + PATIENCE, 10) == (0, [5])
        tags.finish([2])
        assert tags.acknowledge(1.2 + PATIENCE, 10) == (2, [])
        assert 4 in tags

    def test_not_too_many(self) -> None:
        tags = self.tags(5)
        tags.finish([3, 4])
        assert tags.acknowledge(0.0, 2) == (0, [])
        tags.finish([2])
        assert tags.acknowledge(0.0, 2) == (0, [2, 3, 4])

    def test_what_was_given_back_holds_nothing_up(self) -> None:
        tags = self.tags(3)
        assert tags.drop(1)
        assert not tags.drop(1)
        tags.finish([2, 3, 99])
        assert not tags.drop(2)
        assert tags.acknowledge(0.0, 10) == (3, [])


class TestConfirms:
    def confirms(self, count: int) -> Confirms:
        confirms = Confirms()
        confirms.begin()
        for place in range(count):
            confirms.sent(place, f"m{place}")
        return confirms

    def test_several_at_once(self) -> None:
        confirms = self.confirms(5)
        confirms.on_ack(3, True)
        confirms.on_ack(5, False)
        assert (confirms.open, confirms.confirmed) == (1, {0, 1, 2, 4})

    def test_what_was_returned_is_refused_though_it_is_confirmed(self) -> None:
        confirms = self.confirms(3)
        confirms.on_return("m1", "NO_ROUTE")
        confirms.on_nack(3, False)
        confirms.on_ack(2, True)
        assert confirms.confirmed == {0}
        assert {(r.place, r.unroutable) for r in confirms.refusals} == {(1, True), (2, False)}

    def test_tags_go_on_from_batch_to_batch(self) -> None:
        confirms = self.confirms(2)
        confirms.begin()
        confirms.sent(0, "next")
        confirms.on_ack(2, True)  # of the batch before
        assert confirms.open == 1
        confirms.on_ack(3, False)
        assert confirms.confirmed == {0}


class TestTopology:
    def declared(self, queue: Queue, where: Address = HERE) -> list[Any]:
        return list(topology.declaring(queue, where))

    def test_a_plain_queue(self) -> None:
        assert self.declared(Queue("q")) == [
            DeclareQueue("q", arguments={"x-max-priority": 9, "x-queue-mode": "lazy"})
        ]

    def test_beside_celery_it_has_celerys_arguments(self) -> None:
        beside = Address("", "amqp", HERE.nodes, interop=True)
        assert self.declared(Queue("q"), beside) == [DeclareQueue("q")]

    def test_without_priorities(self) -> None:
        assert self.declared(Queue("q", max_priority=0)) == [
            DeclareQueue("q", arguments={"x-queue-mode": "lazy"})
        ]
        none = Address("", "amqp", HERE.nodes, max_priority=0)
        assert self.declared(Queue("q"), none) == self.declared(Queue("q", max_priority=0))

    def test_beside_celery_queues_are_declared_as_celery_does(self) -> None:
        beside = Address("", "amqp", HERE.nodes, interop=True)
        assert self.declared(Queue("q"), beside) == [DeclareQueue("q")]

    def test_a_quorum_queue_has_queues_for_its_priorities(self) -> None:
        names = [step.name for step in self.declared(Queue("q"), QUORUM)]
        assert names == ["q", "q.priority.3", "q.priority.2", "q.priority.1"]
        assert {step.arguments["x-queue-type"] for step in self.declared(Queue("q"), QUORUM)} == {
            "quorum"
        }

    def test_limits_refuse_instead_of_dropping(self) -> None:
        (step,) = self.declared(Queue("q", max_length=5, expires=1.5))
        assert step.arguments["x-overflow"] == "reject-publish"
        assert (step.arguments["x-max-length"], step.arguments["x-expires"]) == (5, 1500)

    def test_a_stream_is_no_task_queue(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="'q' has the type 'stream'"):
            self.declared(Queue("q", queue_arguments={"x-queue-type": "stream"}))

    def test_exchanges_and_their_bindings(self) -> None:
        inner = Exchange("inner", "headers", bindings=(binding(Exchange("outer", "topic"), "a.#"),))
        queue = Queue("q", inner, "key", binding_arguments={"x-match": "all", "colour": "red"})
        assert self.declared(queue)[1:] == [
            DeclareExchange("inner", "headers"),
            DeclareExchange("outer", "topic"),
            Bind("inner", "outer", "a.#", exchange=True),
            Bind("q", "inner", "key", {"x-match": "all", "colour": "red"}),
        ]

    def test_a_broadcast_outlives_a_lost_connection_and_not_its_worker(self) -> None:
        step = self.declared(Broadcast("news").for_consumer("me"))[0]
        assert (step.name, step.auto_delete) == ("news.me", False)
        assert step.arguments["x-expires"] > 0

    def test_every_delay_passes_all_levels(self) -> None:
        """A message is bound to wait at each level whose bit is set, and to pass the others."""
        steps = list(topology.declaring_delays("classic"))
        binds = [step for step in steps if isinstance(step, Bind)]
        for seconds in (1, 2, 5, 1000, topology.LONGEST_DELAY):
            key = topology.delayed_key(seconds, "proj.q")
            waited, exchange = 0, topology.DELAY_EXCHANGE
            while exchange != topology.DELIVERY_EXCHANGE:
                (step,) = [
                    b for b in binds if b.source == exchange and topic_matches(b.routing_key, key)
                ]
                level = int(exchange.rpartition("_")[2])
                waited += 0 if step.exchange else 2**level
                onward = f"celery_delayed_{level - 1}" if level else topology.DELIVERY_EXCHANGE
                assert step.target == (onward if step.exchange else exchange)
                exchange = onward
            assert waited == seconds
            target = topology.delay_target("", "proj.q")
            assert topic_matches(target.routing_key, key)
            assert not topic_matches(topology.delay_target("", "q").routing_key, key)
            assert topology.undelayed_key(key) == "proj.q"

    def test_the_last_second_is_spent_elsewhere(self) -> None:
        parcel = to_parcel(message(routing_key="q"), 2)
        assert delayed(parcel, time.time() + 0.9) == (parcel, False)
        waiting, in_broker = delayed(parcel, time.time() + 3.5)
        assert in_broker
        assert waiting.routing_key == topology.delayed_key(3, "q")


def test_what_may_be_there_already_is_sent_again_under_its_name() -> None:
    attempts = Attempts()
    first = [to_parcel(message(routing_key=str(n)), 2) for n in range(3)]
    attempts.failed(first, {0}, [1])
    second = [to_parcel(message(routing_key=str(n)), 2) for n in range(3)]
    assert attempts.confirmed(second) == {0}
    assert second[1].message_id == first[1].message_id
    assert to_message(second[1]).once == f"again:{first[1].message_id}"
    assert to_message(second[2]).once is None


def test_what_was_confirmed_is_not_published_again() -> None:
    attempts = Attempts()
    parcels = [to_parcel(message(routing_key=str(n)), 2) for n in range(3)]
    attempts.failed(parcels, {0})
    attempts.failed(parcels, {2})
    assert attempts.confirmed(parcels) == {0, 2}
    assert attempts.confirmed(parcels[:2]) == set()
    attempts.done(parcels)
    assert attempts.confirmed(parcels) == set()
