"""How an app gets its settings, and says what it reads."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskq import signals
from taskq.exceptions import ImproperlyConfigured
from taskq.settings import Layer

if TYPE_CHECKING:
    from taskq.serialization import SerializerRegistry
    from taskq.settings import Settings


class Configured:
    """The part of an app that reads its settings.

    Attributes:
        conf: the settings.
        on_configure: sent before settings are read from somewhere.
        on_after_configure: sent when they have been.
    """

    conf: Settings
    serializers: SerializerRegistry

    def __init__(self) -> None:
        self.on_configure = signals.Signal("on_configure")
        self.on_after_configure = signals.Signal("on_after_configure")
        self._configured: set[int] = set()

    def config_from_object(
        self,
        obj: Any,
        silent: bool = False,
        force: bool = False,
        namespace: str | None = None,
    ) -> None:
        """Read settings from a module, a class, a mapping, or the dotted name of one.

        Args:
            obj: where from.
            silent: say nothing if it cannot be imported.
            force: accepted for Celery's sake; settings are always read at once.
            namespace: take only names that begin with it, in upper case
                (``namespace="CELERY"`` reads ``CELERY_BROKER_URL``).

        Raises:
            ImproperlyConfigured: it cannot be imported, or holds a wrong setting.
        """
        self.on_configure.send(self)
        try:
            self.conf.load_object(obj, namespace=namespace)
        except ImproperlyConfigured as exc:
            if not (silent and isinstance(exc.__cause__, ImportError)):
                raise
        self._forget_cached()
        self.on_after_configure.send(self, source=obj)
        self._configured.update(map(id, self.on_after_configure))

    def _tell_configured(self) -> None:
        """Call receivers of `on_after_configure` that were connected after the settings were read.

        Celery reads settings when they are first used, so that most receivers stand below.
        """
        for receiver in list(self.on_after_configure):
            if id(receiver) not in self._configured:
                self._configured.add(id(receiver))
                receiver(signal=self.on_after_configure, sender=self, source=None)

    def config_from_envvar(self, variable: str, silent: bool = False) -> None:
        """Read settings from the module that an environment variable names."""
        module = os.environ.get(variable)
        if module:
            self.config_from_object(module)
        elif not silent:
            raise ImproperlyConfigured(
                f"the environment variable {variable} is not set: it must name a module of settings"
            )

    def add_defaults(self, defaults: Mapping[str, Any]) -> None:
        """Settings for which nobody has said anything else."""
        self.conf.add_defaults(defaults)

    def override(self, settings: Mapping[str, Any], source: str) -> None:
        """Let settings win over all other sources until `restore`, as tests want it.

        Args:
            settings: settings by name.
            source: where they come from, for error messages and ``conf.source()``.

        Raises:
            ImproperlyConfigured: a setting is unknown, or of a wrong type.
        """
        self.conf.load(settings, source, Layer.OVERRIDDEN)
        self._changed(settings)

    def restore(self, names: Collection[str]) -> None:
        """Take back what `override` has said of these settings."""
        self.conf.unload(names, Layer.OVERRIDDEN)
        self._changed(names)

    def _changed(self, names: Collection[str]) -> None:
        """Let go of what was made by the settings before."""
        self._forget_cached()
        for name, part in (("broker_url", "broker"), ("result_backend", "backend")):
            if name in names and (made := self.__dict__.pop(part, None)) is not None:
                made.close()

    def _forget_cached(self) -> None:
        for name in ("router", "producer", "result_codec"):
            self.__dict__.pop(name, None)

    def setup_security(
        self,
        allowed_serializers: Sequence[str] = (),
        key: str | None = None,
        key_password: str | bytes | None = None,
        cert: str | None = None,
        store: str | None = None,
        digest: str | None = None,
        serializer: str = "json",
        *,
        secret: str | bytes | Sequence[str | bytes] | None = None,
    ) -> None:
        """Read only signed messages from now on; set ``task_serializer`` to write such.

        What is not given of key, certificates and digest is taken from the settings
        ``security_…``.

        Args:
            allowed_serializers: more serializers whose messages are read.
            key: file of the private key, for the serializer ``auth``, which Celery shares.
            key_password: its password.
            cert: file of its certificate.
            store: folder of the certificates that are trusted.
            digest: the hash that is signed; sha256 by default.
            serializer: writes what is signed.
            secret: for the serializer ``signed``, in place of all these: what signs, and what
                else is accepted.

        Raises:
            ImproperlyConfigured: neither is given, or a file cannot be read.
        """
        # hmac and cryptography are for those who sign.
        from taskq.serialization import signing

        if secret is not None:
            secrets = [secret] if isinstance(secret, str | bytes) else secret
            signing.register_signed(self.serializers, secrets, serializer)
            name = signing.SIGNED
        else:
            files = self._signing_files(key, cert, store)
            digest = digest or self.conf.security_digest
            password = key_password or self.conf.security_key_password
            signing.register_auth(
                self.serializers, *files, digest, password, serializer, allowed_serializers
            )
            name = signing.AUTH
        results = self.conf.result_accept_content or self.conf.accept_content
        self.conf.update(
            accept_content=(name, *allowed_serializers),
            result_accept_content=tuple(dict.fromkeys((*results, name))),
        )
        self._forget_cached()

    def _signing_files(
        self, key: str | None, cert: str | None, store: str | None
    ) -> tuple[str, str, str]:
        """Of the key, of its certificate, and of those that are trusted."""
        conf = self.conf
        key, cert = key or conf.security_key, cert or conf.security_certificate
        store = store or conf.security_cert_store
        if key and cert and store:
            return key, cert, store
        raise ImproperlyConfigured(
            "setup_security needs secret=..., or key=..., cert=... and store=..., or the settings "
            "security_key, security_certificate and security_cert_store"
        )
