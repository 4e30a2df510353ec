"""Celery's serializer ``auth``: each side reads what the other has signed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from taskq.serialization import SerializerRegistry
from taskq.serialization.signing import register_auth
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
