"""What only stores of objects promise, shown on S3 as moto imitates it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from taskq import states
from taskq.backends.base import Backend
from taskq.backends.object_urls import object_place
from taskq.backends.objects import ObjectsBackend
from taskq.backends.registry import make_backend
from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.settings import Settings
from tests.conformance.backends import outcome, part
from tests.conformance.places import s3_url
from tests.conformance.processes import forked
from tests.servers import S3Server, s3_server
from tests.waiting import wait_until

PATIENCE = 20.0
DONE = b'{"status":"SUCCESS","result":[1],"traceback":null,"children":[],"task_id":"a"}'


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    return s3_url(request)


def opened(url: str, **settings: Any) -> Backend:
    return make_backend(url, Settings(settings))


@pytest.fixture
def backend(url: str) -> Iterator[Backend]:
    backend = opened(url)
    yield backend
    backend.close()


def test_results_lie_as_celery_keeps_them(s3: S3Server, backend: Backend) -> None:
    backend.store([outcome("a", payload=DONE)])
    assert s3.call("GET", "/results/base/celery-task-meta-a") == DONE
    s3.call("DELETE", "/results/base/celery-task-meta-a")
    assert backend.fetch(["a"]) == {}


def test_the_settings_of_celery(s3: S3Server, url: str) -> None:
    backend = opened(
        "s3",
        s3_bucket="results",
        s3_base_path="other/",
        s3_endpoint_url=s3.url,
        s3_region="us-east-1",
        s3_access_key_id="key",
        s3_secret_access_key="secret",
        result_backend_transport_options={"global_keyprefix": "x"},
    )
    backend.store([outcome("a", payload=DONE)])
    assert s3.call("GET", "/results/other/x_celery-task-meta-a") == DONE
    backend.close()


def test_the_first_success_stays(backend: Backend) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: backend.store([outcome("a", payload=b"%d" % n)]), range(8)))
    first = backend.fetch(["a"])
    backend.store([outcome("a", states.FAILURE), outcome("b", states.STARTED), outcome("b")])
    backend.store([outcome("b", states.STARTED)])
    assert backend.fetch(["a", "b", "c"]) == {**first, "b": outcome("b")}
    backend.forget(["a", "c"])
    assert set(backend.fetch(["a", "b"])) == {"b"}


@pytest.mark.parametrize("task_id", ["with space", "é/b?c", "x" * 600, "100%"])
def test_unusual_ids(backend: Backend, task_id: str) -> None:
    backend.store([outcome(task_id)])
    assert set(backend.fetch([task_id])) == {task_id}
    assert backend.add_parts([part(0, 1, group=task_id)])
    assert backend.chord_parts(task_id) == {0: b"0"}


def test_members_counted_from_threads_and_again(backend: Backend) -> None:
    with ThreadPoolExecutor(4) as threads:
        told = list(threads.map(lambda n: backend.add_parts([part(n, 12)]), range(12)))
    assert sum(map(len, told)) >= 1
    assert backend.add_parts([part(3, 12, payload=b"again")])
    assert backend.chord_parts("g")[3] == b"3"
    backend.forget_parts("g")
    assert backend.chord_parts("g") == {}


def test_cleanup(url: str) -> None:
    brief, lasting = opened(url, result_expires=1.0), opened(url)
    for backend in (brief, lasting):
        assert backend.cleanup() == 0
    brief.store([outcome("a"), outcome("b")])
    brief.add_parts([part(0)])
    wait_until(lambda: not brief.fetch(["a", "b"]), PATIENCE, "results to expire")
    brief.store([outcome("b", states.FAILURE)])  # even where a success was
    assert brief.cleanup() == 1
    assert set(lasting.fetch(["a", "b"])) == {"b"}

    def parts_are_gone() -> bool:  # the member came after the results, and expires after them
        brief.cleanup()
        return brief.chord_parts("g") == {}

    wait_until(parts_are_gone, PATIENCE, "the chord to expire")
    brief.close()
    lasting.close()


async def test_waiting_here_for_a_forked_child(backend: Backend) -> None:
    def child() -> None:
        backend.store([outcome("a")])
        backend.close()

    with forked(child):
        assert set(await backend.await_(["a"], PATIENCE)) == {"a"}
    assert set(await asyncio.to_thread(backend.wait, ["a"], PATIENCE)) == {"a"}


def test_a_store_that_is_away(url: str) -> None:
    with s3_server() as server:
        backend = opened(
            f"s3://results/?endpoint_url={server.url}&region=us-east-1",
            result_backend_transport_options={
                "config_kwargs": {"connect_timeout": 1, "retries": {"max_attempts": 1}}
            },
        )
        backend.store([outcome("a")])
        server.kill()
        with pytest.raises(OperationalError, match=r"s3://results/: .*[Cc]onnect"):
            backend.store([outcome("b")])
        with pytest.raises(OperationalError, match="s3://results/"):
            backend.fetch(["a"])
        server.start()
        server.reset()
        backend.store([outcome("b")])
        assert set(backend.fetch(["a", "b"])) == {"b"}
        backend.close()


def test_a_bucket_that_is_not_there(s3: S3Server, url: str) -> None:
    backend = opened(url.replace("//results", "//nothing"))
    with pytest.raises(OperationalError, match="bucket"):
        backend.store([outcome("a")])
    backend.close()


# Other kinds, as far as they can be had here


def test_any_file_system_of_fsspec() -> None:
    backend = opened("fsspec+memory://folder")
    assert isinstance(backend, ObjectsBackend)
    backend.store([outcome("a"), outcome("b")])
    assert set(backend.fetch(["a", "b", "c"])) == {"a", "b"}
    assert backend.add_parts([part(0, 2)]) == []
    assert backend.add_parts([part(1, 2)]) == [part(1, 2)]
    backend.forget(["a"])
    backend.forget_parts("g")
    assert set(backend.fetch(["a", "b"])) == {"b"}


@pytest.mark.parametrize(
    ("url", "settings", "place"),
    [
        ("s3://b/p", {}, ("s3", "b/p/", {})),
        ("gs://b/p/?gcs_project=x", {}, ("gcs", "b/p/", {"project": "x"})),
        ("gs://", {"gcs_bucket": "b", "gcs_base_path": "/q/"}, ("gcs", "b/q/", {})),
        (
            "azureblockblob://AccountName=a;AccountKey=b@c",
            {"azureblockblob_base_path": "p/"},
            ("az", "celery/p/", {"connection_string": "AccountName=a;AccountKey=b@c"}),
        ),
        (
            "azureblockblob://DefaultAzureCredential@https://me.blob.core.windows.net",
            {"azureblockblob_container_name": "c"},
            ("az", "c/", {"account_name": "me", "anon": False}),
        ),
        ("fsspec+sftp://h/p", {}, ("sftp", "h/p/", {})),
    ],
)
def test_forms_of_urls(url: str, settings: dict[str, Any], place: tuple[Any, ...]) -> None:
    assert object_place(url, Settings(settings)) == place


@pytest.mark.parametrize("url", ["s3://", "gs://", "azureblockblob://", "s3://b/?region=a&x=1"])
def test_urls_that_name_no_place(url: str) -> None:
    with pytest.raises(ImproperlyConfigured):
        make_backend(url, Settings())


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("s3://b", "s3fs", "s3"),
        ("gs://b", "gcsfs", "gcs"),
        ("azureblockblob://x", "adlfs", "azure"),
        ("fsspec+memory://b", "fsspec", "fsspec"),
        ("cache+memcached://b", "pymemcache", "memcached"),
        ("db+sqlite:///b", "sqlalchemy", "sqlalchemy"),
        ("db+postgresql+psycopg2://b/c", "psycopg2", "postgresql"),
        ("db+mysql+pymysql://b/c", "pymysql", "mysql"),
        ("redis://b", "redis", "redis"),
    ],
)
def test_errors_name_the_extra_of_a_missing_driver(url: str, module: str, extra: str) -> None:
    program = f"""
import sys
sys.modules[{module!r}] = None
from taskq.backends.registry import make_backend
from taskq.settings import Settings
make_backend({url!r}, Settings())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert f"needs the package {module}: pip install 'taskq[{extra}]'" in done.stderr
