"""Tasks: making, naming, calling and checking them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from taskq import Retry, Task, TaskQ, context, shared_task, states
from taskq.exceptions import (
    AlreadyRegistered,
    EncodeError,
    ImproperlyConfigured,
    NotRegistered,
    OperationalError,
)
from taskq.message import TaskMessage


def sent(app: TaskQ, queue: str = "default") -> list[TaskMessage]:
    return app.broker.browse(queue, 100)


# Making them


def test_of_a_function(app: TaskQ) -> None:
    @app.task
    def add(a: int, b: int) -> int:
        """Add numbers."""
        return a + b

    assert add(1, 2) == 3
    assert add.name == f"{__name__}.add"
    assert (add.__doc__, add.__module__) == ("Add numbers.", __name__)
    assert app.tasks[add.name] is add
    assert repr(add) == f"<@task: {add.name}>"


def test_options_are_attributes(app: TaskQ) -> None:
    @app.task(name="mine", queue="slow", max_retries=None, priority=7, acks_late=False)
    def add() -> None: ...

    assert (add.name, add.queue, add.max_retries, add.priority) == ("mine", "slow", None, 7)
    assert add.acks_late is False
    assert (Task.queue, Task.max_retries, Task.priority) == (None, 3, None)


def test_unknown_options(app: TaskQ) -> None:
    decorate: Any = app.task
    with pytest.raises(TypeError, match=r"'add'.*\['quueue'\]"):

        @decorate(quueue="slow")
        def add() -> None: ...


def test_bound_to_itself(app: TaskQ) -> None:
    @app.task(bind=True)
    def name(self: Task[..., Any], suffix: str) -> str:
        return self.name + suffix

    assert name("!") == f"{__name__}.name!"
    name.check_arguments(("!",), {})


def test_a_base_of_its_own(app: TaskQ) -> None:
    class Base(Task[..., Any]):
        queue = "slow"
        extra = 1

        def helper(self) -> int:
            return self.extra

    @app.task(base=Base, bind=True, extra=5)  # type: ignore[call-overload, untyped-decorator]
    def use(self: Any) -> int:
        return int(self.helper())

    assert use() == 5
    assert use.queue == "slow"


def test_a_base_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    class Base(Task[..., Any]):
        queue = "slow"

    with TaskQ("own", broker="memory://", task_cls=Base, set_as_current=False) as app:

        @app.task
        def add() -> None: ...

        assert isinstance(add, Base)
        assert issubclass(app.Task, Base)


def test_class_based(app: TaskQ) -> None:
    class Add(app.Task):  # type: ignore[name-defined, misc]
        max_retries = 9
        bound: ClassVar[list[TaskQ]] = []

        def run(self, a: int, b: int) -> int:
            return a + b

        @classmethod
        def on_bound(cls, app: TaskQ) -> None:
            cls.bound.append(app)

    add = app.register_task(Add)
    assert add.name == f"{__name__}.Add"
    assert (add(1, 2), add.max_retries) == (3, 9)
    assert Add.bound == [app]
    add.delay(1, 2)
    assert [message.task for message in sent(app)] == [add.name]
    named = Add()
    named.name = "another"
    assert app.register_task(named) is app.tasks["another"]


def test_class_based_without_run(app: TaskQ) -> None:
    class Empty(Task[..., Any]):
        name = "empty"

    with pytest.raises(NotImplementedError, match=r"'empty'.*run\(\)"):
        app.register_task(Empty)()


def test_two_of_one_name(app: TaskQ) -> None:
    @app.task(name="add")
    def first() -> None: ...

    with pytest.raises(AlreadyRegistered, match=r"'add'.*test_task.py:\d+.*test_task.py:\d+"):

        @app.task(name="add")
        def second() -> None: ...

    assert app.tasks["add"] is first


def test_the_same_one_twice(app: TaskQ) -> None:
    """A module can be imported twice, as __main__ and by its name."""

    def define() -> Task[..., Any]:
        @app.task(name="add")
        def add() -> None: ...

        return add

    define()
    second = define()
    assert app.tasks["add"] is second


def test_names_in_the_main_program(app: TaskQ) -> None:
    assert app.gen_task_name("add", "__main__") == "proj.add"
    assert app.gen_task_name("add", "shop.tasks") == "shop.tasks.add"


def test_annotations() -> None:
    annotations = {"*": {"queue": "slow"}, "proj.add": {"queue": "fast", "max_retries": 1}}
    with TaskQ("own", set_as_current=False, task_annotations=annotations) as app:

        @app.task(name="proj.add")
        def add() -> None: ...

        @app.task(name="proj.sub")
        def sub() -> None: ...

        assert (add.queue, add.max_retries, sub.queue) == ("fast", 1, "slow")


def test_annotations_by_objects_and_around_methods() -> None:
    class ByQueue:
        def annotate(self, task: Task[..., Any]) -> dict[str, Any] | None:
            return {"max_retries": 7} if task.queue == "slow" else None

        def annotate_any(self) -> dict[str, Any]:
            return {"priority": 3}

    def louder(run: Any) -> Any:
        return lambda text: run(text).upper()

    annotations = [{"*": {"@run": louder}}, ByQueue()]
    with TaskQ("own", set_as_current=False, task_annotations=annotations) as app:

        @app.task(name="slow", queue="slow")
        def slow(text: str) -> str:
            return text

        @app.task(name="fast")
        def fast(text: str) -> str:
            return text

        assert (slow.max_retries, fast.max_retries) == (7, 3)
        assert (slow.priority, fast.priority) == (3, 3)
        assert (slow("a"), fast.apply(("b",)).get()) == ("A", "B")


def test_annotations_that_are_none() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"task_annotations has 'proj.add'.*annotate"):
        TaskQ("own", set_as_current=False, task_annotations=["proj.add"])


def test_a_shared_task_of_an_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.context._shared", [])
    with TaskQ("one", set_as_current=False) as one:

        @one.task(name="everywhere", shared=True, max_retries=9)
        def everywhere() -> int:
            return 1

        @one.task(name="here")
        def here() -> None: ...

    with TaskQ("two", set_as_current=False) as two:
        assert "here" not in two.tasks
        found = two.tasks["everywhere"]
        assert (found.app, found.max_retries, found()) == (two, 9, 1)
        assert everywhere.app is one


def test_shared_tasks_belong_to_every_app(app: TaskQ) -> None:
    @shared_task
    def add(a: int) -> int:
        return a

    @shared_task(bind=True, name="named", queue="slow")
    def named(self: Task[..., Any]) -> str:
        return self.name

    assert add.app is app
    with TaskQ("later", broker="memory://") as later:
        for mine in (app, later):
            assert mine.tasks[add.name].app is mine
            assert (mine.tasks["named"](), mine.tasks["named"].queue) == ("named", "slow")


def test_a_shared_task_waits_for_the_first_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_current_app", None)
    monkeypatch.setattr(context, "_shared", [])

    @shared_task(name="early", bind=True)
    def early(self: Task[..., int], n: int) -> int:
        return n + 1

    assert not early.is_bound
    with pytest.raises(AttributeError, match=r"'early' .*no app has taken it in yet"):
        early.delay(1)
    first = TaskQ("first", broker="memory://")
    assert first.tasks["early"] is early
    assert early.app is first
    second = TaskQ("second", broker="memory://", set_as_current=False)
    assert second.tasks["early"] is not early
    assert second.tasks["early"].app is second
    assert early.apply((1,)).get() == 2


def test_pickling_keeps_the_name(app: TaskQ) -> None:
    @app.task(name="add")
    def add() -> None: ...

    assert pickle.loads(pickle.dumps(add)) is add


def test_a_task_that_is_not_there(app: TaskQ) -> None:
    @app.task(name="proj.add")
    def add() -> None: ...

    with pytest.raises(NotRegistered, match=r"'proj\.ad'.*did you mean 'proj\.add'"):
        app.tasks["proj.ad"]
    with pytest.raises(KeyError, match=r"'xyz' is registered: Tasks are known once"):
        app.tasks["xyz"]
    assert app.tasks.get("xyz") is None


# Calling them


def test_delay(app: TaskQ) -> None:
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    result = add.delay(1, b=2)
    (message,) = sent(app)
    assert (message.id, message.task) == (result.id, add.name)
    assert message.body.startswith(b'[[1],{"b":2},')
    assert result.state == states.PENDING


async def test_from_a_loop(app: TaskQ) -> None:
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    first = await add.adelay(1, b=2)
    second = await add.aapply_async((1, 2), priority=9)
    assert [message.id for message in sent(app)] == [second.id, first.id]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1,), {}), ((1, 2, 3), {}), ((1, 2), {"b": 3}), ((1, 2), {"d": 3})],
)
def test_arguments_are_checked_when_it_is_called(
    app: TaskQ, args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    @app.task
    def add(a: int, b: int, *, c: int = 0) -> int:
        return a + b

    call: Any = add.delay
    with pytest.raises(TypeError, match=r"add\(a: .* cannot be called"):
        call(*args, **kwargs)
    with pytest.raises(TypeError, match="cannot be called"):
        app.send_task(add.name, args, kwargs)
    assert sent(app) == []


def test_checking_can_be_turned_off() -> None:
    with TaskQ("own", broker="memory://", set_as_current=False, strict_typing=False) as loose:

        @loose.task(name="add")
        def add(a: int) -> int:
            return a

        call: Any = add.delay
        call()
        assert len(sent(loose)) == 1
    with TaskQ("own", broker="memory://", set_as_current=False) as app:

        @app.task(name="add", typing=False)
        def loosely(a: int) -> int:
            return a

        call = loosely.delay
        call()
        assert len(sent(app)) == 1


@pytest.mark.parametrize(
    ("args", "kwargs", "fits"),
    [
        ((1,), {}, True),
        ((1, 2, 3), {}, True),
        ((1,), {"key": 1}, True),
        ((1,), {"key": 1, "more": 2}, True),
        ((), {"key": 1}, False),
    ],
)
def test_any_kind_of_function(
    app: TaskQ, args: tuple[int, ...], kwargs: dict[str, int], fits: bool
) -> None:
    @app.task
    def take(first: int, /, *rest: int, key: int = 0, **more: int) -> None: ...

    try:
        take.check_arguments(args, kwargs)
    except TypeError:
        assert not fits
    else:
        assert fits


def test_keywords_that_must_be_given(app: TaskQ) -> None:
    @app.task
    def take(first: int, *, key: int) -> None: ...

    take.check_arguments((1,), {"key": 1})
    with pytest.raises(TypeError, match="'key'"):
        take.check_arguments((1,), {})


def test_what_cannot_be_encoded(app: TaskQ) -> None:
    @app.task
    def take(value: object) -> None: ...

    with pytest.raises(EncodeError):
        take.delay(object())
    assert sent(app) == []


def test_a_shadow(app: TaskQ) -> None:
    class Shadowed(Task[..., Any]):
        def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str:
            return f"add of {args[0]}"

    @app.task(base=Shadowed)
    def add(a: int) -> None: ...

    add.delay(5)
    add.apply_async((5,), shadow="mine")
    assert [message.headers["shadow"] for message in sent(app)] == ["add of 5", "mine"]


def test_the_broker_is_away(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(messages: Any) -> None:
        raise OperationalError("nobody there")

    monkeypatch.setattr(app.broker, "publish", refuse)

    @app.task(name="add")
    def add() -> None: ...

    with pytest.raises(OperationalError, match="add: nobody there"):
        add.apply_async(retry=False)


# Calling the function itself


def test_called_directly(app: TaskQ) -> None:
    requests = []

    @app.task(bind=True)
    def look(self: Task[..., Any]) -> None:
        requests.append(self.request)

    look()
    (request,) = requests
    assert request.called_directly
    assert (request.id, request.retries, request.is_eager) == (None, 0, False)


def test_retry_of_what_was_called_directly(app: TaskQ) -> None:
    @app.task(bind=True)
    def again(self: Task[..., Any], exc: Exception | None = None) -> None:
        self.retry(exc=exc)

    with pytest.raises(ValueError, match="why"):
        again(ValueError("why"))
    with pytest.raises(Retry):
        again()
    assert sent(app) == []


def test_what_it_sends_when_called_directly_has_no_parent(app: TaskQ) -> None:
    @app.task(name="add")
    def add() -> None: ...

    requests = []

    @app.task(bind=True)
    def send(self: Task[..., Any]) -> None:
        requests.append(self.request)
        add.delay()

    send()
    send()
    assert [message.headers["parent_id"] for message in sent(app)] == [None, None]
    assert [request.children for request in requests] == [[], []]


def test_a_function_that_was_called_directly_may_wait(app: TaskQ) -> None:
    @app.task
    def wait() -> Any:
        app.backend.store([app.result_codec.encode("another", states.SUCCESS, 5)])
        return app.AsyncResult("another").get(timeout=1)

    assert wait() == 5


def test_a_task_called_inside_another_is_called_directly(app: TaskQ) -> None:
    requests = []

    @app.task(bind=True)
    def inner(self: Task[..., Any]) -> None:
        requests.append(self.request)
        app.tasks["add"].delay()
        self.retry(exc=KeyError("inner"))

    @app.task(name="add")
    def add() -> None: ...

    @app.task(bind=True)
    def outer(self: Task[..., Any]) -> str | None:
        with pytest.raises(KeyError):
            inner()
        return self.request.id

    result = outer.apply(task_id="1")
    assert result.get() == "1"
    assert requests[0].called_directly
    (message,) = sent(app)
    assert message.headers["parent_id"] == "1"


# State


def test_update_state(app: TaskQ) -> None:
    app.conf.task_store_eager_result = True

    @app.task(bind=True, name="work")
    def work(self: Task[..., Any]) -> tuple[str, Any]:
        self.update_state(state="PROGRESS", meta={"done": 5})
        self.update_state("other", state="PROGRESS", meta=1)
        return app.AsyncResult("1").state, app.AsyncResult("1").info

    assert work.apply(task_id="1").get() == ("PROGRESS", {"done": 5})
    assert app.AsyncResult("other").info == 1
    work()  # has no id of its own, and so nothing to tell
    assert work.AsyncResult("1").task_name == "work"


async def test_update_state_in_a_coroutine(app: TaskQ) -> None:
    @app.task(name="work")
    def work() -> None: ...

    await work.aupdate_state("1", "PROGRESS", 7)
    assert app.AsyncResult("1").info == 7


# Eagerly


@pytest.fixture
def eager(app: TaskQ) -> Iterator[TaskQ]:
    app.conf.update(task_always_eager=True)
    yield app
    assert sent(app) == []


def test_apply(app: TaskQ) -> None:
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    result = add.apply((1,), {"b": 2}, task_id="1")
    assert (result.id, result.get(), result.state) == ("1", 3, states.SUCCESS)
    assert (result.successful(), result.failed(), result.ready()) == (True, False, True)
    assert result.exists()
    assert result.date_done is not None
    assert app.backend.fetch(["1"]) == {}
    assert sent(app) == []


def test_arguments_need_no_encoding_and_are_checked(app: TaskQ) -> None:
    @app.task
    def same(value: object) -> object:
        return value

    thing = object()
    assert same.apply((thing,)).get() is thing
    with pytest.raises(TypeError, match="cannot be called"):
        same.apply(())


def test_apply_that_fails(app: TaskQ) -> None:
    @app.task
    def fail() -> None:
        raise ValueError("no")

    result = fail.apply()
    assert (result.state, result.failed()) == (states.FAILURE, True)
    assert "in fail" in (result.traceback or "")
    with pytest.raises(ValueError, match="no"):
        result.get()
    assert repr(result.get(propagate=False)) == "ValueError('no')"
    with pytest.raises(ValueError, match="no"):
        fail.apply(throw=True)
    app.conf.update(task_eager_propagates=True)
    with pytest.raises(ValueError, match="no"):
        fail.apply()
    assert fail.apply(throw=False).failed()


def test_apply_retries_at_once(app: TaskQ) -> None:
    runs = []

    @app.task(bind=True, max_retries=3)
    def again(self: Task[..., Any], n: int) -> int:
        runs.append((self.request.retries, n, self.request.is_eager))
        if len(runs) < 3:
            self.retry((n + 1,), countdown=1000)
        return n

    result = again.apply((5,))
    assert result.get() == 7
    assert runs == [(0, 5, True), (1, 6, True), (2, 7, True)]


def test_apply_retries_until_the_end(app: TaskQ) -> None:
    runs = []

    @app.task(autoretry_for=(ValueError,), max_retries=2)
    def fail() -> None:
        runs.append(1)
        raise ValueError("no")

    assert fail.apply().failed()
    assert len(runs) == 3


def test_apply_calls_what_is_linked(app: TaskQ) -> None:
    calls = []

    @app.task
    def note(*args: Any) -> None:
        calls.append(args)

    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    @app.task
    def fail() -> None:
        raise ValueError

    @app.task
    def failed(task_id: str) -> None:
        calls.append(task_id)

    add.apply((1, 2), link=[note.s("x"), add.s(1) | note.s()], link_error=failed.s())
    fail.apply(task_id="1", link=note.s(), link_error=failed.s())
    assert calls == [(3, "x"), (4,), "1"]


def test_apply_can_store(app: TaskQ) -> None:
    app.conf.update(task_store_eager_result=True)

    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    add.apply((1, 2), task_id="1")
    assert app.AsyncResult("1").get(timeout=1) == 3


async def test_always_eager(eager: TaskQ) -> None:
    @eager.task
    def add(a: int, b: int) -> int:
        return a + b

    assert add.delay(1, 2).get() == 3
    assert add.apply_async((1, 2), countdown=100).get() == 3
    assert (await add.adelay(1, 2)).get() == 3
    assert await (await add.aapply_async((1, 2))) == 3


async def test_always_eager_signatures(eager: TaskQ) -> None:
    @eager.task
    def add(a: int, b: int) -> int:
        return a + b

    assert add.s(1, 2).delay().get() == 3
    assert add.s(2).apply_async((1,), countdown=100).get() == 3
    assert (await add.s(1, 2).aapply_async()).get() == 3
    steps = add.s(1, 2) | add.s(3) | add.si(5, 5)
    assert steps.delay().get() == 10
    assert steps.apply_async().get() == 10
    assert steps().get() == 10
    assert (await steps.aapply_async()).get() == 10
    assert [result.get() for result in eager.send_many([add.s(1, 2), steps])] == [3, 10]
    assert [result.get() for result in await eager.asend_many([add.s(1, 2), steps])] == [3, 10]


def test_waiting_inside_of_an_eager_task(eager: TaskQ) -> None:
    @eager.task
    def add(a: int, b: int) -> int:
        return a + b

    @eager.task
    def twice(a: int) -> int:
        return 2 * int(add.delay(a, 1).get())

    assert twice.delay(1).get() == 4


def test_coroutines(app: TaskQ) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    assert add.apply((1, 2)).get() == 3
