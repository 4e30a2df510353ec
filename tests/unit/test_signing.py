"""Signed messages."""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path

import pytest
import trustme

from taskq import TaskQ
from taskq.exceptions import ImproperlyConfigured, SecurityError
from taskq.serialization import SerializerRegistry
from taskq.serialization.signing import register_auth, register_signed

SECRET, OTHER = "s" * 32, "t" * 32


def signed(*secrets: str) -> SerializerRegistry:
    registry = SerializerRegistry()
    register_signed(registry, secrets)
    return registry


def test_a_shared_secret() -> None:
    encoded = signed(SECRET).encode([1, {"a": "ä"}], "signed")
    assert signed(SECRET).decode(encoded.body, encoded.content_type) == [1, {"a": "ä"}]
    assert signed(OTHER, SECRET).decode(encoded.body, encoded.content_type) == [1, {"a": "ä"}]


@pytest.mark.parametrize("change", [0, 31, 32, -1])
def test_what_was_changed_is_refused(change: int) -> None:
    encoded = signed(SECRET).encode([1, 2], "signed")
    body = bytearray(encoded.body)
    body[change] ^= 1
    with pytest.raises(SecurityError):
        signed(SECRET).decode(bytes(body), encoded.content_type)
    with pytest.raises(SecurityError):
        signed(OTHER).decode(encoded.body, encoded.content_type)
    with pytest.raises(SecurityError):
        signed(SECRET).decode(b"", encoded.content_type)


def test_a_short_secret() -> None:
    with pytest.raises(ImproperlyConfigured, match="16 bytes"):
        signed("short")


def certificate(folder: Path, name: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    one = trustme.CA(organization_name=name, key_type=trustme.KeyType.RSA).issue_cert(
        "worker", key_type=trustme.KeyType.RSA
    )
    one.private_key_pem.write_to_path(str(folder / f"{name}.key"))
    (folder / "trusted").mkdir(exist_ok=True)
    path = folder / "trusted" / f"{name}.pem"
    one.cert_chain_pems[0].write_to_path(str(path))
    return {
        "key": str(folder / f"{name}.key"),
        "certificate": str(path),
        "store": str(folder / "trusted"),
    }


def test_certificates(tmp_path: Path) -> None:
    one, other = SerializerRegistry(), SerializerRegistry()
    register_auth(one, **certificate(tmp_path / "a", "one"))
    encoded = one.encode([1, "x"], "auth")
    assert one.decode(encoded.body, encoded.content_type) == [1, "x"]
    register_auth(other, **certificate(tmp_path / "b", "two"))
    with pytest.raises(SecurityError, match="not trusted"):
        other.decode(encoded.body, encoded.content_type)
    forged = b64encode(b64decode(encoded.body).replace(b'"x"', b'"y"'))
    with pytest.raises(SecurityError, match="changed"):
        one.decode(forged, encoded.content_type)


@pytest.mark.parametrize("junk", [b"", b"!", b64encode(b"x"), b64encode(b"\xff\x00\x01" * 5)])
def test_what_is_not_signed_at_all(tmp_path: Path, junk: bytes) -> None:
    registry = SerializerRegistry()
    register_auth(registry, **certificate(tmp_path, "one"))
    with pytest.raises(SecurityError):
        registry.decode(junk, "application/data")


def test_an_app_is_set_up_by_its_settings(tmp_path: Path) -> None:
    files = certificate(tmp_path, "one")
    settings = {
        "security_key": files["key"],
        "security_certificate": files["certificate"],
        "security_cert_store": files["store"],
    }
    app = TaskQ("proj", set_as_current=False, task_serializer="auth", **settings)
    app.setup_security()
    assert app.conf.accept_content == ("auth",)
    assert app.producer.build("add", (1,), {}, {}).content_type == "application/data"
    app = TaskQ("proj", set_as_current=False, security_digest="crc", **settings)
    with pytest.raises(ImproperlyConfigured, match="security_digest='crc'"):
        app.setup_security()
    with pytest.raises(ImproperlyConfigured, match=r"cannot be read.*nowhere"):
        app.setup_security(key="nowhere", digest="sha512")


def test_a_key_with_a_password(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as pem

    files = certificate(tmp_path, "one")
    path = Path(files["key"])
    key = pem.load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(
            pem.Encoding.PEM,
            pem.PrivateFormat.PKCS8,
            pem.BestAvailableEncryption(b"open"),
        )
    )
    registry = SerializerRegistry()
    with pytest.raises(ImproperlyConfigured, match="cannot be read"):
        register_auth(registry, **files)
    register_auth(registry, **files, password="open")
    assert registry.decode(registry.encode(1, "auth").body, "application/data") == 1


def test_an_app_is_set_up(tmp_path: Path) -> None:
    app = TaskQ("proj", set_as_current=False, task_serializer="signed")
    app.setup_security(secret=SECRET)
    assert app.conf.accept_content == ("signed",)
    message = app.producer.build("add", (1,), {}, {})
    assert message.content_type == "application/x-taskq-signed"
    with pytest.raises(ImproperlyConfigured, match="setup_security"):
        app.setup_security()
