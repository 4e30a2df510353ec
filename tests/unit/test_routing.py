"""Queues, exchange rules, and where messages go."""

import re
import sys
import types
from collections.abc import Mapping
from typing import Any

import pytest

from taskq.exceptions import ImproperlyConfigured, QueueNotFound
from taskq.routing import (
    Broadcast,
    Exchange,
    Queue,
    Route,
    Router,
    binding,
    matching_queues,
    topic_matches,
)
from taskq.settings import Settings


class TestTopics:
    @pytest.mark.parametrize(
        ("pattern", "key", "fits"),
        [
            ("a.b", "a.b", True),
            ("a.b", "a.c", False),
            ("a.b", "a.b.c", False),
            ("a.*", "a.b", True),
            ("a.*", "a", False),
            ("a.*", "a.b.c", False),
            ("*", "a", True),
            ("*", "a.b", False),
            ("#", "", True),
            ("#", "a.b.c", True),
            ("a.#", "a", True),
            ("a.#", "a.b.c", True),
            ("a.#", "b.a", False),
            ("#.c", "c", True),
            ("#.c", "a.b.c", True),
            ("#.c", "a.c.b", False),
            ("a.#.c", "a.c", True),
            ("a.#.c", "a.b.c.b.c", True),
            ("a.#.c", "a.b.c.b", False),
            ("#.a.#.b.#", "x.a.y.z.b", True),
            ("#.a.#.b.#", "x.b.y.z.a", False),
            ("*.#.*", "a", False),
            ("*.#.*", "a.b", True),
            ("#.#", "", True),
            ("a*", "ab", False),
        ],
    )
    def test_patterns(self, pattern: str, key: str, fits: bool) -> None:
        assert topic_matches(pattern, key) is fits

    def test_many_hashes_take_no_ages(self) -> None:
        assert not topic_matches(".".join(["#", "a"] * 30), ".".join(["a"] * 200 + ["b"]))


class TestExchanges:
    def test_types(self) -> None:
        rows = [
            ("direct", "a", "one"),
            ("direct", "b", "two"),
            ("topic", "a.#", "three"),
            ("fanout", "", "four"),
            ("direct", "a", "five"),
            ("topic", "*", "one"),
        ]
        assert matching_queues(rows, "a") == ["one", "three", "four", "five"]
        assert matching_queues(rows, "c.d") == ["four"]
        assert matching_queues([], "a") == []

    def test_headers_need_amqp(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="'headers' needs an AMQP broker"):
            matching_queues([("headers", "", "one")], "a")

    def test_unknown_type(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="exchange 'e' has type 'dirct'"):
            Exchange("e", "dirct")
        assert Exchange("e", "x-delayed-message").type == "x-delayed-message"


class TestQueues:
    def test_a_plain_queue_uses_the_nameless_exchange(self) -> None:
        queue = Queue("mail")
        assert queue.routing_key == "mail"
        assert queue.address() == ("", "mail")
        assert list(queue.all_bindings()) == []

    def test_bindings(self) -> None:
        media, feeds = Exchange("media"), Exchange("feeds", "topic")
        more = binding(feeds, "feed.#")
        queue = Queue("video", media, "media.video", bindings=[more])  # type: ignore[arg-type]
        assert list(queue.all_bindings()) == [binding(media, "media.video"), more]
        assert queue.bindings == (more,)

    def test_direct_queues_are_reached_by_name_and_others_through_their_exchange(self) -> None:
        assert Queue("a", Exchange("e"), "key").address() == ("", "a")
        assert Queue("a", Exchange("e", "topic"), "key").address() == ("e", "key")

    def test_an_exchange_may_be_a_name(self) -> None:
        assert Queue("a", "media").exchange == Exchange("media")  # type: ignore[arg-type]
        assert Queue("a", None).exchange == Exchange()  # type: ignore[arg-type]

    @pytest.mark.parametrize("name", ["", None, 3])
    def test_a_queue_needs_a_name(self, name: Any) -> None:
        with pytest.raises(ImproperlyConfigured, match=f"not {name!r}"):
            Queue(name)

    def test_queues_can_be_compared_and_hashed(self) -> None:
        queues = {Queue("a", queue_arguments={"x-queue-type": "quorum"}), Queue("a"), Queue("a")}
        assert len(queues) == 2

    def test_from_options(self) -> None:
        queue = Queue.from_options(
            "q",
            {"exchange": "e", "exchange_type": "topic", "binding_key": "a.#", "max_priority": 3},
        )
        assert queue == Queue("q", Exchange("e", "topic"), "a.#", max_priority=3)
        with pytest.raises(ImproperlyConfigured, match="queue 'q' has unknown options rooting_key"):
            Queue.from_options("q", {"rooting_key": "a"})

    def test_broadcast_gives_each_consumer_a_queue(self) -> None:
        news = Broadcast("news")
        assert news.address() == ("news", "news")
        mine, other = news.for_consumer("w1"), news.for_consumer("w2")
        assert mine.name != other.name
        assert mine.auto_delete
        rows = [
            (bound.exchange.type, bound.routing_key, queue.name)
            for queue in (mine, other)
            for bound in queue.all_bindings()
        ]
        assert matching_queues(rows, "news") == [mine.name, other.name]

    def test_other_queues_are_shared(self) -> None:
        queue = Queue("a")
        assert queue.for_consumer("w1") is queue


def target(router: Router, name: str, **options: Any) -> tuple[str, str]:
    found = router.route(options, name)
    return found.exchange, found.routing_key


class TestOrder:
    """Call and task, then routes, then defaults."""

    router = Router(routes={"proj.add": {"queue": "routed", "priority": 3, "serializer": "yaml"}})

    def test_default(self) -> None:
        found = Router().route({}, "proj.add")
        assert (found.exchange, found.routing_key) == ("", "default")
        assert found.queue == Queue("default")
        assert found.priority is None

    def test_route(self) -> None:
        found = self.router.route({}, "proj.add")
        assert found.queue == Queue("routed")
        assert found.priority == 3
        assert found.options == {"serializer": "yaml"}

    def test_call(self) -> None:
        found = self.router.route(
            {"queue": "mine", "priority": 0, "serializer": "json"}, "proj.add"
        )
        assert found.queue == Queue("mine")
        assert found.priority == 0
        assert found.options == {}

    def test_none_in_the_call_leaves_it_to_the_route(self) -> None:
        found = self.router.route({"queue": None, "priority": None}, "proj.add")
        assert found.queue == Queue("routed")
        assert found.priority == 3

    def test_an_exchange_in_the_call_sets_the_routes_queue_aside(self) -> None:
        found = self.router.route({"exchange": "e", "routing_key": "k"}, "proj.add")
        assert (found.queue, found.exchange, found.routing_key) == (None, "e", "k")
        assert found.priority == 3

    def test_one_call_does_not_change_the_next(self) -> None:
        self.router.route({"queue": "mine", "priority": 9}, "proj.add")
        found = self.router.route({}, "proj.add")
        assert (found.routing_key, found.priority) == ("routed", 3)
        self.router.route({}, "proj.other")
        assert self.router.route({"priority": 9}, "proj.other").priority == 9
        assert self.router.route({}, "proj.other").priority is None

    def test_topic_queue_with_a_key_of_the_message(self) -> None:
        router = Router({"feeds": Queue("feeds", Exchange("media", "topic"), "feed.#")})
        assert target(router, "a", queue="feeds") == ("media", "feed.#")
        assert target(router, "a", queue="feeds", routing_key="feed.x") == ("media", "feed.x")

    def test_objects_in_the_call(self) -> None:
        exchange = Exchange("e", "fanout")
        found = Router().route({"exchange": exchange}, "a")
        assert (found.exchange, found.declared_exchange) == ("e", exchange)
        queue = Queue("q")
        assert Router().route({"queue": queue}, "a").queue is queue

    def test_a_wrong_queue(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="not 3"):
            Router().route({"queue": 3}, "a")

    def test_only_a_routing_key(self) -> None:
        router = Router({"q": Queue("q")}, default_exchange="e", default_routing_key="d")
        assert target(router, "a", routing_key="k") == ("e", "k")
        router = Router({"q": Queue("q")})
        assert target(router, "a", routing_key="q") == ("", "q")
        assert target(router, "a", routing_key="z") == ("", "default")


class TestForms:
    @pytest.mark.parametrize(
        "routes",
        [
            {"proj.tasks.*": "globbed", re.compile(r"proj\.(video|image)\..*"): {"queue": "regex"}},
            [("proj.tasks.*", "globbed"), (re.compile(r"proj\.(video|image)\..*"), "regex")],
            ([("proj.tasks.*", "globbed"), (re.compile(r"proj\.(video|image)\..*"), "regex")],),
            [{"proj.tasks.*": "globbed"}, {re.compile(r"proj\.(video|image)\..*"): Route("regex")}],
            lambda name, *_, **__: (
                "globbed" if "tasks" in name else "regex" if "image" in name else None
            ),
        ],
    )
    def test_equal_meanings(self, routes: object) -> None:
        router = Router(routes=routes)
        for _ in range(2):  # The second answer may come from memory.
            assert target(router, "proj.tasks.add") == ("", "globbed")
            assert target(router, "proj.image.turn") == ("", "regex")
            assert target(router, "other.add") == ("", "default")

    def test_exact_names_come_before_patterns(self) -> None:
        for routes in (
            {"proj.*": "glob", "proj.add": "exact"},
            [("proj.*", "glob"), ("proj.add", "exact")],
        ):
            assert target(Router(routes=routes), "proj.add") == ("", "exact")

    def test_the_first_answer_counts(self) -> None:
        router = Router(routes=[{"a": "one"}, lambda *_, **__: "two", {"b": "three"}])
        assert target(router, "a") == ("", "one")
        assert target(router, "b") == ("", "two")

    def test_what_a_function_is_given(self) -> None:
        seen: list[object] = []

        def route(
            name: str,
            args: Any,
            kwargs: Any,
            options: Mapping[str, Any],
            task: object = None,
            **rest: object,
        ) -> dict[str, object]:
            seen.extend([name, args, kwargs, dict(options), task])
            return {"queue": f"user{kwargs['user']}"}

        router = Router(routes=route)
        found = router.route({"expires": 3}, "a", (1,), {"user": 7}, task="the task")
        assert found.queue == Queue("user7")
        assert seen == ["a", (1,), {"user": 7}, {"expires": 3}, "the task"]

    def test_router_objects(self) -> None:
        class ByName:
            def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> str:
                return task.partition(".")[0]

        assert target(Router(routes=ByName()), "mail.send") == ("", "mail")

    def test_dotted_paths_are_imported_on_first_use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class ByName:
            def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> str:
                return "from_class"

        def function(name: str, *_: object, **__: object) -> str | None:
            return "from_function" if name == "a" else None

        router = Router(routes=["proj_routes:function", "proj_routes.ByName"])
        module = types.ModuleType("proj_routes")
        vars(module).update(ByName=ByName, function=function)
        monkeypatch.setitem(sys.modules, "proj_routes", module)
        assert target(router, "a") == ("", "from_function")
        assert target(router, "b") == ("", "from_class")

    @pytest.mark.parametrize("path", ["no_such_module:x", "taskq.routing:nothing", "nothing"])
    def test_paths_to_nothing(self, path: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=f"router '{path}', which cannot"):
            Router(routes=path).route({}, "a")

    @pytest.mark.parametrize("routes", [3, [3], {"a": 3}, [("a", "b", "c")], Queue])
    def test_what_is_no_route(self, routes: object) -> None:
        with pytest.raises(ImproperlyConfigured, match="task_routes"):
            Router(routes=routes)

    def test_a_wrong_answer(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="for task 'a' must be"):
            Router(routes=lambda *_, **__: 3).route({}, "a")


class TestDeclared:
    def test_missing_queues_are_made_or_refused(self) -> None:
        assert target(Router(), "a", queue="new") == ("", "new")
        router = Router({"b": Queue("b"), "a": Queue("a")}, create_missing=False)
        with pytest.raises(QueueNotFound, match=r"queue 'new' is not declared \(declared: a, b\)"):
            router.route({"queue": "new"}, "t")

    def test_the_same_queue_each_time(self) -> None:
        router = Router()
        assert router.queue("a") is router.queue("a")

    @pytest.mark.parametrize(
        "queues",
        [
            [Queue("a"), Queue("b", Exchange("e", "topic"), "k")],
            ["a", Queue("b", Exchange("e", "topic"), "k")],
            {"a": {}, "b": {"exchange": "e", "exchange_type": "topic", "routing_key": "k"}},
            {"a": None, "b": Queue("b", Exchange("e", "topic"), "k")},
        ],
    )
    def test_settings(self, queues: object) -> None:
        router = Router.from_settings(Settings(task_queues=queues, task_default_queue="a"))
        assert router.queues == {"a": Queue("a"), "b": Queue("b", Exchange("e", "topic"), "k")}
        assert target(router, "t") == ("", "a")
        assert target(router, "t", queue="b") == ("e", "k")

    @pytest.mark.parametrize("queues", [3, "a", [3], {"a": 3}])
    def test_wrong_settings(self, queues: object) -> None:
        with pytest.raises(ImproperlyConfigured, match="setting 'task_queues'"):
            Router.from_settings(Settings(task_queues=queues))

    def test_highest_priority(self) -> None:
        conf = Settings(task_queues=["a", Queue("b", max_priority=3)], task_queue_max_priority=9)
        router = Router.from_settings(conf)
        assert (router.queue("a").max_priority, router.queue("b").max_priority) == (9, 3)

    def test_default_exchange(self) -> None:
        conf = Settings(
            task_default_queue="q",
            task_default_exchange="e",
            task_default_exchange_type="topic",
            task_default_routing_key="q.x",
        )
        router = Router.from_settings(conf)
        assert router.queues == {"q": Queue("q", Exchange("e", "topic"), "q.x")}
        assert target(router, "t") == ("e", "q.x")

    def test_interop_declares_what_celery_declares(self) -> None:
        router = Router.from_settings(Settings(celery_interop=True))
        assert router.queues == {"celery": Queue("celery", Exchange("celery"))}
        assert target(router, "t") == ("", "celery")

    def test_the_default_queue_must_be_declared_too(self) -> None:
        conf = Settings(task_queues=["a"], task_create_missing_queues=False)
        with pytest.raises(QueueNotFound, match="queue 'default'"):
            Router.from_settings(conf).route({}, "t")
