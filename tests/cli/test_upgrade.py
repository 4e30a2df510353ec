"""``taskq upgrade settings``."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from taskq.cli.upgrade import upgrade
from taskq.settings.upgrading import new_name
from taskq.settings.upgrading import upgrade as renew

OLD = '''"""CELERY_ROUTES in a text stays."""
BROKER_URL = "amqp://"  # BROKER_URL
CELERYD_CONCURRENCY, CELERY_ACKS_LATE = 4, True
CELERY_TASK_RESULT_EXPIRES = (
    3600 * CELERYD_CONCURRENCY
)
CELERYD_TIMER = "x"
DEBUG = True
'''


def test_names_change_and_nothing_else() -> None:
    text, renamed, unknown = renew(OLD)
    assert text == (
        '"""CELERY_ROUTES in a text stays."""\n'
        'broker_url = "amqp://"  # BROKER_URL\n'
        "worker_concurrency, task_acks_late = 4, True\n"
        "result_expires = (\n    3600 * worker_concurrency\n)\n"
        'CELERYD_TIMER = "x"\nDEBUG = True\n'
    )
    assert renamed == {
        "BROKER_URL": "broker_url",
        "CELERYD_CONCURRENCY": "worker_concurrency",
        "CELERY_ACKS_LATE": "task_acks_late",
        "CELERY_TASK_RESULT_EXPIRES": "result_expires",
    }
    assert unknown == ["CELERYD_TIMER"]
    assert renew(text)[0] == text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("CELERY_TASK_SERIALIZER", "task_serializer"),
        ("CELERY_RESULT_BACKEND", "result_backend"),
        ("CELERY_DEFAULT_QUEUE", "task_default_queue"),
        ("CELERYD_TASK_TIME_LIMIT", "task_time_limit"),
        ("CELERY_TIMEZONE", "timezone"),
        ("DEBUG", None),
        ("broker_url", None),
    ],
)
def test_single_names(old: str, new: str | None) -> None:
    assert new_name(old) == new


def call(*arguments: str) -> tuple[int, str]:
    from taskq.cli.session import Session

    done = CliRunner().invoke(upgrade, ["settings", *arguments], obj=Session())
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("option", "name"), [("--django", "TASKQ_TASK_ACKS_LATE"), ("--compat", "CELERY_BROKER_URL")]
)
def test_a_file_is_changed_and_the_old_one_kept(tmp_path: Path, option: str, name: str) -> None:
    file = tmp_path / "conf.py"
    file.write_text(OLD)
    status, _ = call(str(file), "--dry-run")
    assert (status, file.read_text()) == (0, OLD)
    status, output = call(str(file), option)
    assert status == 0, output
    assert name in file.read_text()
    assert (tmp_path / "conf.py.orig").read_text() == OLD
    assert "CELERYD_TIMER: taskq has no such setting" in output
