"""Serializers that sign what they write, and read only what somebody trusted has signed.

``auth`` is Celery's, with X.509 certificates (``celery/security/serialization.py``); ``signed``
has one secret that all share.  What is signed is the body: neither the headers of a message, nor
that it is sent once.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taskq.exceptions import ImproperlyConfigured, SecurityError
from taskq.serialization.registry import SerializerRegistry

AUTH, AUTH_TYPE = "auth", "application/data"
SIGNED, SIGNED_TYPE = "signed", "application/x-taskq-signed"
_SEPARATOR = b"\x00\x01"


def register_signed(
    registry: SerializerRegistry, secrets: Sequence[str | bytes], serializer: str = "json"
) -> None:
    """Register the serializer ``signed``: HMAC with SHA-256.

    Args:
        registry: of an app.
        secrets: the first signs, and each of them is accepted, so that they can be changed.
        serializer: writes what is signed.

    Raises:
        ImproperlyConfigured: a secret is too short to be one.
    """
    keys = [one.encode() if isinstance(one, str) else one for one in secrets]
    if not keys or min(map(len, keys)) < 16:
        raise ImproperlyConfigured(
            "the secret of signed messages must have 16 bytes or more: take "
            "`python -c 'import secrets; print(secrets.token_hex(32))'`"
        )
    inner = next(iter(registry.content_types([serializer])))

    def sign(key: bytes, body: bytes) -> bytes:
        return hmac.new(key, inner.encode() + b"\n" + body, hashlib.sha256).digest()

    def encode(value: Any) -> bytes:
        body = registry.encode(value, serializer).body
        return sign(keys[0], body) + body

    def decode(data: bytes) -> Any:
        signature, body = data[:32], data[32:]
        # All of them, so that the time tells nothing.
        if not sum([hmac.compare_digest(sign(key, body), signature) for key in keys]):
            raise SecurityError("a message is not signed with the secret, or was changed")
        return registry.decode(body, inner)

    registry.register(SIGNED, encode, decode, SIGNED_TYPE, "binary")


def register_auth(
    registry: SerializerRegistry,
    key: str,
    certificate: str,
    store: str,
    digest: str = "sha256",
    password: str | bytes | None = None,
    serializer: str = "json",
    allowed: Sequence[str] = (),
) -> None:
    """Register Celery's serializer ``auth``.

    Args:
        registry: of an app.
        key: file of the private RSA key that signs.
        certificate: file of its certificate.
        store: a folder, or a glob, of the certificates that are trusted.
        digest: a hash of the cryptography package, by name.
        password: of the key.
        serializer: writes what is signed.
        allowed: more serializers that are read inside of it.

    Raises:
        ImproperlyConfigured: the package is missing, or a file cannot be read.
    """
    signer = _Certificates(key, certificate, store, digest, password)
    accept = registry.content_types([serializer, *allowed])

    def encode(value: Any) -> bytes:
        inner = registry.encode(value, serializer)
        fields = [
            b64encode(signer.name.encode()),
            b64encode(signer.sign(inner.body)),
            inner.content_type.encode(),
            inner.content_encoding.encode(),
            inner.body,
        ]
        return b64encode(_SEPARATOR.join(fields))

    def decode(data: bytes) -> Any:
        try:
            name, signature, content_type, encoding, body = b64decode(data).split(_SEPARATOR, 4)
            signed_by, signature = b64decode(name).decode(), b64decode(signature)
        except ValueError as exc:
            raise SecurityError("a message is not signed, or was changed") from exc
        signer.verify(signed_by, signature, body)
        return registry.decode(body, content_type.decode(), encoding.decode(), accept)

    registry.register(AUTH, encode, decode, AUTH_TYPE, "utf-8")


class _Certificates:
    """A key that signs, and the certificates of those who are trusted; see `register_auth`.

    Attributes:
        name: by which others know whose certificate is to be looked at.
    """

    def __init__(
        self, key: str, certificate: str, store: str, digest: str, password: str | bytes | None
    ) -> None:
        try:
            from cryptography import x509
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives import hashes
            from cryptography.hazmat.primitives.asymmetric import padding
        except ImportError:
            raise ImproperlyConfigured(
                "signing with certificates needs cryptography: pip install taskq[security]"
            ) from None
        kind = getattr(hashes, digest.upper(), None)
        if kind is None:
            raise ImproperlyConfigured(f"security_digest={digest!r}: there is no such hash")
        self._hash, self._invalid = kind, InvalidSignature
        self._padding = padding.PSS(mgf=padding.MGF1(kind()), salt_length=padding.PSS.MAX_LENGTH)
        try:
            self._key = _private_key(Path(key), password)
            self.name = _id_of(x509.load_pem_x509_certificate(Path(certificate).read_bytes()))
            self._trusted = {
                _id_of(one): one
                for one in (x509.load_pem_x509_certificate(f.read_bytes()) for f in _files(store))
            }
        except (OSError, ValueError, TypeError) as exc:
            raise ImproperlyConfigured(f"a key or certificate cannot be read: {exc}") from exc

    def sign(self, body: bytes) -> bytes:
        signature: bytes = self._key.sign(body, self._padding, self._hash())
        return signature

    def verify(self, name: str, signature: bytes, body: bytes) -> None:
        """Raise `SecurityError` unless somebody trusted has signed this."""
        known = self._trusted.get(name)
        if known is None:
            raise SecurityError(
                f"a message is signed by {name!r}, whose certificate is not trusted"
            )
        if datetime.now(UTC) >= known.not_valid_after_utc:
            raise SecurityError(f"the certificate of {name!r} has expired")
        public: Any = known.public_key()
        try:
            public.verify(signature, body, self._padding, self._hash())
        except self._invalid as exc:
            raise SecurityError(f"a message was not signed by {name!r}, or was changed") from exc


def _private_key(path: Path, password: str | bytes | None) -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    secret = password.encode() if isinstance(password, str) else password
    key = load_pem_private_key(path.read_bytes(), secret)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ImproperlyConfigured(f"{path}: an RSA key is needed")
    return key


def _files(store: str) -> list[Path]:
    """All files of a folder, or of a pattern."""
    folder = Path(store)
    pattern = folder / "*" if folder.is_dir() else folder
    return sorted(pattern.parent.glob(pattern.name))


def _id_of(certificate: Any) -> str:
    """What Celery calls a certificate: its issuer and its number."""
    issuer = " ".join(str(part.value) for part in certificate.issuer)
    return f"{issuer} {certificate.serial_number}"
