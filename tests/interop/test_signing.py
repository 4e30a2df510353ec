"""Celery's serializer ``auth``: each side reads what the other has signed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from taskq.serialization import SerializerRegistry
from taskq.serialization.signing import register_auth
from tests.faults.stage import PATIENCE, Stage
from tests.interop.processes import CeleryClient, CeleryWorker
from tests.servers import RedisServer, VirtualHost
from tests.unit.test_signing import certificate

_PROGRAM = """
import sys
from celery.security.certificate import Certificate, FSCertStore
from celery.security.key import PrivateKey
from celery.security.serialization import SecureSerializer

key, certificate, store = (sys.argv[1:4])
signing = SecureSerializer(
    PrivateKey(open(key).read()), Certificate(open(certificate).read()), FSCertStore(store)
)
print(signing.deserialize(sys.stdin.read()))
print(signing.serialize({"from": "celery"}))
"""


@pytest.mark.slow
def test_both_read_both(celery_environment: str, tmp_path: Path) -> None:
    files = certificate(tmp_path / "certificates", "one")
    registry = SerializerRegistry()
    register_auth(registry, **files)
    done = subprocess.run(
        [celery_environment, "-c", _PROGRAM, *files.values()],
        input=registry.encode({"from": "taskq"}, "auth").body.decode(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read, written = done.stdout.splitlines()
    assert read == "{'from': 'taskq'}"
    assert registry.decode(written.encode(), "application/data") == {"from": "celery"}


class Signed:
    """Both sides on one broker, with messages that are signed.

    Args:
        python: of Celery's environment.
        folder: an empty folder.
        settings: that both sides have.
        stack: ends all that is started.
    """

    def __init__(
        self, python: str, folder: Path, settings: dict[str, Any], stack: ExitStack
    ) -> None:
        files = certificate(folder / "certificates", "one")
        both = {
            **settings,
            "security_key": files["key"],
            "security_certificate": files["certificate"],
            "security_cert_store": files["store"],
            "task_serializer": "auth",
        }
        # Celery reads results by `accept_content` unless it is told otherwise.
        theirs = {**both, "accept_content": ["auth"], "result_accept_content": ["json"]}
        self.stage = Stage(folder, "tests.interop.taskq_side", **both)
        stack.callback(self.stage.close)
        self.celery = CeleryClient(python, folder, theirs)
        stack.callback(self.celery.close)
        self.celery_worker = CeleryWorker(python, folder, "celery1", theirs, "-Q", "on-celery")
        stack.callback(self.celery_worker.close)
        self.worker = self.stage.worker("-Q", "on-taskq", ready=False)
        self.celery.wait_ready()
        self.celery_worker.wait_ready()
        self.worker.wait_ready()


@pytest.fixture
def signed(
    celery_environment: str, rabbitmq: VirtualHost, redis: RedisServer, tmp_path: Path
) -> Iterator[Signed]:
    with ExitStack() as stack:
        settings = {"broker_url": rabbitmq.url, "result_backend": redis.url}
        yield Signed(celery_environment, tmp_path, settings, stack)


@pytest.mark.slow
@pytest.mark.rabbitmq
class TestTasks:
    def test_either_client_calls_tasks_of_either_worker(self, signed: Signed) -> None:
        for queue in ("on-celery", "on-taskq"):
            task_id = signed.celery.send("interop.add", [1, 2], {}, queue=queue)
            assert signed.celery.get(task_id)["value"] == 3
            result = signed.stage.send("interop.add", 3, 4, queue=queue)
            assert result.get(timeout=PATIENCE) == 7

    def test_what_follows_is_signed_by_whoever_sends_it(self, signed: Signed) -> None:
        add = signed.stage.app.tasks["interop.add"]
        here, there = {"queue": "on-taskq"}, {"queue": "on-celery"}
        chain = add.s(1, 1).set(**there) | add.s(1).set(**here) | add.s(1).set(**there)
        chain |= add.s(1).set(**here)
        assert chain.apply_async().get(timeout=PATIENCE) == 5
        retried = signed.stage.send("interop.retry", 2, "on-taskq", queue="on-celery")
        assert retried.get(timeout=PATIENCE) == ["taskq", 2]

    def test_what_nobody_has_signed_does_not_run(self, signed: Signed) -> None:
        plain = signed.stage.send("interop.add", 1, 2, queue="on-taskq", serializer="json")
        forged = signed.stage.app.producer.build("interop.add", (1, 2), {}, {"queue": "on-taskq"})
        body = bytearray(forged.body)
        body[-20] = body[-20] ^ 1
        forged.body = bytes(body)
        signed.stage.app.broker.publish([forged])
        for task_id, error in ((plain.id, "ContentDisallowed"), (forged.id, "SecurityError")):
            result = signed.stage.app.AsyncResult(task_id)
            with pytest.raises(Exception, match=r"signed|accept_content"):
                result.get(timeout=PATIENCE)
            assert type(result.result).__name__ == error
        assert signed.worker.terminate() == 0
