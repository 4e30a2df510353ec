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
    try:
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding, rsa
    except ImportError:
        raise ImproperlyConfigured(
            "signing with certificates needs cryptography: pip install taskq[security]"
        ) from None
    secret = password.encode() if isinstance(password, str) else password
    kind = getattr(hashes, digest.upper(), None)
    if kind is None:
        raise ImproperlyConfigured(f"security_digest={digest!r}: there is no such hash")
    try:
        private: Any = serialization.load_pem_private_key(Path(key).read_bytes(), secret)
        own = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
        folder = Path(store)
        pattern = folder / "*" if folder.is_dir() else folder
        files = sorted(pattern.parent.glob(pattern.name))
        trusted = {
            _id_of(one): one
            for one in (x509.load_pem_x509_certificate(file.read_bytes()) for file in files)
        }
    except (OSError, ValueError, TypeError) as exc:
        raise ImproperlyConfigured(f"a key or certificate cannot be read: {exc}") from exc
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ImproperlyConfigured(f"{key}: an RSA key is needed")
    accept = registry.content_types([serializer, *allowed])
    pad = padding.PSS(mgf=padding.MGF1(kind()), salt_length=padding.PSS.MAX_LENGTH)

    def encode(value: Any) -> bytes:
        inner = registry.encode(value, serializer)
        fields = [
            b64encode(_id_of(own).encode()),
            b64encode(private.sign(inner.body, pad, kind())),
            inner.content_type.encode(),
            inner.content_encoding.encode(),
            inner.body,
        ]
        return b64encode(_SEPARATOR.join(fields))

    def decode(data: bytes) -> Any:
        signer, signature, content_type, encoding, body = b64decode(data).split(_SEPARATOR, 4)
        name = b64decode(signer).decode()
        known = trusted.get(name)
        if known is None:
            raise SecurityError(
                f"a message is signed by {name!r}, whose certificate is not trusted"
            )
        if datetime.now(UTC) >= known.not_valid_after_utc:
            raise SecurityError(f"the certificate of {name!r} has expired")
        public: Any = known.public_key()
        try:
            public.verify(b64decode(signature), body, pad, kind())
        except InvalidSignature as exc:
            raise SecurityError(f"a message was not signed by {name!r}, or was changed") from exc
        return registry.decode(body, content_type.decode(), encoding.decode(), accept)

    registry.register(AUTH, encode, decode, AUTH_TYPE, "utf-8")


def _id_of(certificate: Any) -> str:
    """What Celery calls a certificate: its issuer and its number."""
    issuer = " ".join(str(part.value) for part in certificate.issuer)
    return f"{issuer} {certificate.serial_number}"
