"""Certificates of a test's own authority, made when a server needs them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from tests.servers.base import HOST


@dataclass(frozen=True)
class Certificates:
    """Where a server's certificates are.

    Attributes:
        ca: the authority that clients are to trust.
        cert: the server's certificate, for 127.0.0.1 and localhost; good for a client too.
        key: its private key.
    """

    ca: Path
    cert: Path
    key: Path

    @classmethod
    def below(cls, directory: Path) -> Certificates:
        """The files' places in a folder, whether they are there or not."""
        return cls(directory / "ca.pem", directory / "cert.pem", directory / "key.pem")

    def make(self) -> None:
        """Write the files, once: what is there stays, so that a restart changes nothing."""
        # Only TLS needs this package: everything else runs with the standard library.
        import trustme

        if self.key.exists():
            return
        authority = trustme.CA()
        issued = authority.issue_cert(HOST, "localhost")
        authority.cert_pem.write_to_path(self.ca)
        issued.cert_chain_pems[0].write_to_path(self.cert)
        issued.private_key_pem.write_to_path(self.key)

    def client_context(self) -> ssl.SSLContext:
        """What a client needs that trusts this authority, and shows a certificate of it."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.cert, self.key)
        return context
