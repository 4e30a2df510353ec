"""Settings of signed messages."""

from taskq.settings.setting import setting


class SecuritySettings:
    """What `TaskQ.setup_security` takes that is given no arguments."""

    security_cert_store: str | None = setting(
        None, "Folder, or pattern of files, of the certificates whose messages are read."
    )
    security_certificate: str | None = setting(
        None, "File of the certificate that belongs to `security_key`."
    )
    security_digest: str = setting("sha256", "The hash that is signed.")
    security_key: str | None = setting(None, "File of the private RSA key that signs messages.")
    security_key_password: str | bytes | None = setting(None, "The password of `security_key`.")
