"""What only the schedule store in Django's databases promises: a model that people edit."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from taskq import TaskQ, context
from taskq.beat.editor import ScheduleEditor
from taskq.beat.scheduler import Scheduler
from taskq.beat.stores.base import ScheduleStore
from taskq.beat.stores.registry import open_store
from taskq.exceptions import ImproperlyConfigured
from taskq.schedules import ScheduleEntry, bounded, crontab, schedule
from tests.conformance.django_places import database_alias, set_up
from tests.waiting import wait_until

set_up()

from taskq.contrib.django.models import PeriodicTask, ScheduleMark  # noqa: E402

PATIENCE = 20.0


def add(x: int, y: int = 0) -> int:
    return x + y


@pytest.fixture(params=["sqlite", "postgresql"])
def alias(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database with the tables, which the router names."""
    from django.db import connections, router

    alias = database_alias(str(request.getfixturevalue(f"django_{request.param}")))

    class Router:
        def db_for_write(self, model: Any, **hints: Any) -> str:
            return alias

        db_for_read = db_for_write

    named, router.routers = router.routers, [Router()]
    yield alias
    router.routers = named
    connections[alias].close()


@pytest.fixture
def app(alias: str) -> Iterator[TaskQ]:
    """The project's app."""
    before = context._current_app
    app = TaskQ("proj", broker="memory://", beat_scheduler="django", timezone="Europe/Paris")
    app.task(add, name="shop.add")
    yield app
    app.close()
    context.set_current_app(before)


@pytest.fixture
def store(app: TaskQ) -> Iterator[ScheduleStore]:
    with open_store(app) as store:
        yield store


def task(**columns: Any) -> PeriodicTask:
    return PeriodicTask(**{"name": "a", "task": "shop.add", "args": [1], "every": 5, **columns})


def saved(**columns: Any) -> PeriodicTask:
    made = task(**columns)
    made.full_clean()
    made.save()
    return made


def definition(row: PeriodicTask) -> Any:
    return json.loads(row.definition)


# Rules


@pytest.mark.parametrize(
    ("columns", "plain"),
    [
        ({"every": 5}, {"every": 300.0}),
        ({"every": 1.5, "period": "seconds"}, {"every": 1.5}),
        ({"every": 1, "period": "days", "at_round_times": True}, {"every": [86400.0, True]}),
        ({"kind": "crontab", "crontab": "0 7 * * *"}, {"crontab": "0 7 * * *"}),
        (
            {"kind": "crontab", "crontab": "0 7 * * *", "zone": "Asia/Tokyo"},
            {"crontab": ["0 7 * * *", "Asia/Tokyo"]},
        ),
        (
            {"kind": "solar", "event": "sunset", "latitude": 48.9, "longitude": 2},
            {"solar": ["sunset", 48.9, 2.0]},
        ),
        (
            {"kind": "once", "moment": datetime(2030, 1, 1, tzinfo=UTC)},
            {"once": "2030-01-01T00:00:00+00:00"},
        ),
        ({"kind": "other", "rule": '{"every": 7}'}, {"every": 7.0}),
        (
            {"start": datetime(2030, 1, 1, tzinfo=UTC), "one_off": True},
            {
                "bounded": {
                    "rule": {"every": 300.0},
                    "start": "2030-01-01T00:00:00+00:00",
                    "once": True,
                }
            },
        ),
    ],
)
def test_rules(store: ScheduleStore, columns: dict[str, Any], plain: Any) -> None:
    row = saved(**columns)
    assert definition(row)["schedule"] == plain
    (record,) = store.load()
    entry = ScheduleEntry.from_mapping("a", json.loads(record.definition))
    assert entry.task == "shop.add"
    assert record.due is not None
    assert record.due > time.time()


def test_what_is_sent(store: ScheduleStore) -> None:
    row = saved(
        kwargs={"y": 2},
        queue="reports",
        priority=3,
        headers={"tenant": "x"},
        expires=60,
        options={"time_limit": 5},
        missed="skip",
        max_lateness=9,
    )
    assert definition(row) == {
        "task": "shop.add",
        "schedule": {"every": 300.0},
        "args": [1],
        "kwargs": {"y": 2},
        "options": {
            "queue": "reports",
            "priority": 3,
            "headers": {"tenant": "x"},
            "expires": 60,
            "time_limit": 5,
        },
        "missed": "skip",
        "max_lateness": 9,
    }


@pytest.mark.parametrize(
    ("columns", "field", "message"),
    [
        ({"every": None}, "every", "needed"),
        ({"every": -1}, "every", "from a thousandth"),
        ({"kind": "crontab"}, "crontab", "needed"),
        ({"kind": "crontab", "crontab": "61 * * * *"}, "crontab", "61"),
        ({"kind": "crontab", "crontab": "* * *"}, "crontab", "five are needed"),
        ({"kind": "crontab", "crontab": "@daily", "zone": "Paris"}, "zone", "no time zone"),
        ({"kind": "solar", "event": "sunset", "latitude": 1}, "longitude", "needed"),
        ({"kind": "solar", "event": "sunset", "latitude": 91, "longitude": 1}, "event", "lat=91"),
        ({"kind": "once"}, "moment", "needed"),
        ({"kind": "other", "rule": "{"}, "rule", "Expecting"),
        ({"kind": "other", "rule": '{"moon": 1}'}, "rule", "no kind of schedule 'moon'"),
        (
            {"start": datetime(2030, 1, 1, tzinfo=UTC), "end": datetime(2029, 1, 1, tzinfo=UTC)},
            "end",
            "comes before",
        ),
        ({"args": {"x": 1}}, "args", "must be a list"),
        ({"args": ["a\0b"]}, "args", "character 0"),
        ({"kwargs": [1]}, "kwargs", "must be an object"),
        ({"headers": [1]}, "headers", "must be an object"),
        ({"args": []}, "args", "missing a required argument: 'x'"),
        ({"kwargs": {"z": 1}}, "kwargs", "unexpected keyword argument 'z'"),
        ({"options": {"queue": "q"}}, "options", "Use the field for queue"),
        ({"options": {"prio": 1}}, "__all__", "prio"),
        ({"options": {"countdown": "soon"}}, "__all__", "soon"),
    ],
)
def test_mistakes_stand_at_their_fields(
    app: TaskQ, columns: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        task(**columns).full_clean()
    assert list(caught.value.message_dict) == [field]
    assert message in " ".join(caught.value.message_dict[field])


def test_a_task_that_is_not_here_is_not_asked(app: TaskQ) -> None:
    task(task="elsewhere.task", args=[1, 2, 3]).full_clean()


def test_names_are_unique_in_an_app(app: TaskQ) -> None:
    first = saved()
    with pytest.raises(ValidationError, match="periodic task of this name"):
        task().full_clean()
    first.full_clean()


def test_saving_what_cannot_run_is_refused(app: TaskQ) -> None:
    with pytest.raises(ValidationError, match="needed"):
        task(every=None).save()
    assert not PeriodicTask.objects.exists()


# Edits


def edited(store: ScheduleStore) -> Any:
    """Tells whether beats were told of an edit since it was last asked."""
    seen = [store.poll()[1]]

    def changed() -> bool:
        seen.append(store.poll()[1])
        return seen[-1] != seen[-2]

    return changed


def test_beats_are_told_of_every_edit(store: ScheduleStore) -> None:
    changed = edited(store)
    row = saved()
    assert changed()
    row.enabled = False
    row.save()
    assert changed()
    PeriodicTask.objects.filter(name="a").update(queue="q")
    assert changed()
    row.refresh_from_db()
    assert definition(row)["options"] == {"queue": "q"}
    PeriodicTask.objects.bulk_create([task(name="b"), task(name="c")])
    assert changed()
    assert {record.name for record in store.load() if record.due} == {"a", "b", "c"}
    rows = list(PeriodicTask.objects.filter(name__in=["b", "c"]))
    for each in rows:
        each.args = [7]
    PeriodicTask.objects.bulk_update(rows, ["args"])
    assert changed()
    assert {r.name for r in store.load() if b'"args":[7]' in r.definition} == {"b", "c"}
    PeriodicTask.objects.get_or_create(name="d", defaults={"task": "t", "every": 1})
    assert changed()
    row.delete()
    assert changed()
    PeriodicTask.objects.all().delete()
    assert changed()
    ScheduleMark.touch(row._state.db or "", "proj")  # by SQL of one's own
    assert changed()
    assert not changed()


def test_an_edit_never_takes_back_a_tick(store: ScheduleStore) -> None:
    from taskq.beat.stores.base import Claim

    row = saved()
    old = PeriodicTask.objects.get()
    assert row.due is not None
    due, revision = row.due - 300, row.revision
    PeriodicTask._base_manager.update(due=due)
    claim = Claim("a", revision, due, due, due + 300, runs=1, now=due)
    assert store.claim([claim]) == {"a"}
    old.description = "edited meanwhile"
    old.save()
    (record,) = store.load()
    assert (record.runs, record.last_due, record.due) == (1, due, due + 300)
    assert PeriodicTask.objects.get().description == "edited meanwhile"
    assert store.claim([claim]) == set()


def test_the_next_run_stays_unless_the_rule_changes(app: TaskQ) -> None:
    row = saved()
    due = row.due
    row.args = [2]
    row.save()
    assert row.due == due
    row.every = 50
    row.save()
    assert row.due is not None
    assert due is not None
    assert row.due > due + 2000
    row.enabled = False
    row.save()
    PeriodicTask._base_manager.update(due=1.0)
    row.enabled = True
    row.save()
    assert row.due > time.time()
    PeriodicTask.objects.update(enabled=False)
    PeriodicTask._base_manager.update(due=1.0)
    PeriodicTask.objects.update(enabled=True)
    row.refresh_from_db()
    assert row.due > time.time()


def test_an_edit_that_is_rolled_back(store: ScheduleStore, alias: str) -> None:
    from django.db import transaction

    changed = edited(store)
    with transaction.atomic(alias):
        saved()
        store.disable("a")  # takes part in the transaction
        transaction.set_rollback(True, alias)
    assert not changed()
    assert store.load() == []


def test_upcoming_runs_have_the_zone_of_the_rule(app: TaskQ) -> None:
    row = saved(kind="crontab", crontab="0 7 * * *", zone="Asia/Tokyo")
    first, second, third = row.upcoming(3)
    assert [moment.hour for moment in (first, second, third)] == [7, 7, 7]
    assert second - first == timedelta(days=1)
    assert str(first.tzinfo) == "Asia/Tokyo"
    row.enabled = False
    assert row.upcoming(3) == []
    assert str(saved(name="b").upcoming(1)[0].tzinfo) == "Europe/Paris"


# Other ways in


def test_what_the_editor_adds_can_be_edited(app: TaskQ, store: ScheduleStore) -> None:
    end = datetime(2040, 1, 1, tzinfo=UTC)
    editor = ScheduleEditor(app, store)
    editor.add(
        ScheduleEntry(
            *("nightly", "shop.add", bounded(crontab("0", "2", tz="Asia/Tokyo"), end=end)),
            *((1,), {"y": 2}, {"queue": "q", "countdown": 3, "expires": 60}),
        )
    )
    row = PeriodicTask.objects.get()
    assert (row.kind, row.crontab, row.zone, row.end) == ("crontab", "0 2 * * *", "Asia/Tokyo", end)
    assert (row.args, row.kwargs, row.queue, row.expires) == ([1], {"y": 2}, "q", 60)
    assert row.options == {"countdown": 3}
    before = row.definition, row.revision, row.due
    row.full_clean()
    row.save()
    assert json.loads(row.definition) == json.loads(before[0])
    assert row.due == before[2]
    assert editor.run("nightly")
    editor.disable("nightly")
    assert not PeriodicTask.objects.get().enabled


def test_entries_of_the_code_are_shown(app: TaskQ, store: ScheduleStore) -> None:
    entries = {
        "every": ScheduleEntry("every", "shop.add", schedule(7200), (1,)),
        "own": ScheduleEntry("own", "shop.add", crontab("0", "2")),
    }
    Scheduler(app, store, entries).start()
    rows = {row.name: row for row in PeriodicTask.objects.all()}
    assert {row.source for row in rows.values()} == {"code"}
    assert (rows["every"].every, rows["every"].period) == (2, "hours")
    rows["own"].clean()  # what is shown is not checked
    PeriodicTask.objects.filter(name="own").update(enabled=False)
    rows["every"].description = "shown"
    rows["every"].save()
    beat = Scheduler(app, store, entries)
    beat.start()
    assert set(beat.timetable.slots) == {"every"}
    assert PeriodicTask.objects.get(name="every").description == "shown"
    PeriodicTask.objects.filter(name="own").update(enabled=True)
    assert PeriodicTask.objects.get(name="own").due > time.time()


# Beats


def test_beats_follow_edits_and_send_each_tick_once(app: TaskQ, alias: str) -> None:
    saved(name="first", every=0.2, period="seconds")
    stop = threading.Event()
    problems: list[BaseException] = []

    def beat() -> None:
        try:
            with open_store(app) as store:
                scheduler = Scheduler(app, store, {}, poll=0.2)
                scheduler.start()
                while not stop.is_set():
                    stop.wait(scheduler.tick())
        except BaseException as exc:
            problems.append(exc)

    def sent() -> list[Any]:
        return app.broker.browse("default", 10_000)

    beats = [threading.Thread(target=beat) for _ in range(3)]
    for each in beats:
        each.start()
    try:
        wait_until(lambda: len(sent()) > 4, PATIENCE, "some ticks")
        assert PeriodicTask.objects.filter(name="first").update(enabled=False) == 1
        row = saved(name="second", every=0.1, period="seconds", one_off=True)
        wait_until(lambda: _runs("second") == 1, PATIENCE, "the one-off")
        row.refresh_from_db()
        assert row.due is None
    finally:
        stop.set()
        for each in beats:
            each.join(PATIENCE)
    assert problems == []
    keys = [(m.headers["periodic_task_name"], m.headers["periodic_task_due"]) for m in sent()]
    assert len(keys) == len(set(keys)) == _runs("first") + 1


def _runs(name: str) -> int:
    return int(PeriodicTask.objects.get(name=name).runs)


def test_the_name_that_celerys_users_have(app: TaskQ) -> None:
    app.conf.beat_scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
    with open_store(app) as store:
        assert type(store).__name__ == "DjangoScheduleStore"


def test_the_store_needs_django_set_up(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.apps import apps

    monkeypatch.setattr(apps, "is_installed", lambda name: False)
    with pytest.raises(ImproperlyConfigured, match="INSTALLED_APPS"):
        open_store(app)
