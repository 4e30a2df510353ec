"""S3, as moto imitates it, in a process of its own."""

from __future__ import annotations

import contextlib
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec

from tests.servers.base import HOST, MissingServerError, Server, free_ports, private_folder

BUCKET = "results"
_SCOPE = "20260101/us-east-1/s3/aws4_request"


class S3Server(Server):
    """moto's server, which answers as S3 does, with one bucket."""

    name = "moto"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(self.port)]

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONWARNINGS": "ignore"}

    def answers(self) -> bool:
        try:
            self.call("GET", "/moto-api/data.json")
        except OSError:
            return False
        return True

    def call(self, method: str, path: str) -> bytes:
        """Send one request; return what comes.

        Raises:
            OSError: an error, or no answer in time.
        """
        # Nobody's signature is looked at, but that there is one.
        login = f"AWS4-HMAC-SHA256 Credential=test/{_SCOPE}, SignedHeaders=host, Signature=0"
        request = urllib.request.Request(
            f"{self.url}{path}", method=method, headers={"Authorization": login}
        )
        with urllib.request.urlopen(request, timeout=10.0) as answer:
            return bytes(answer.read())

    def reset(self) -> None:
        """Forget everything, and make the bucket anew."""
        self.call("POST", "/moto-api/reset")
        self.call("PUT", f"/{BUCKET}")


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    """A running S3 until the end of the block, with an empty bucket.

    Raises:
        MissingServerError: moto is not installed.
        ServerError: it did not start.
    """
    if find_spec("moto") is None:
        raise MissingServerError("moto is not installed: pip install 'moto[s3,server]'")
    with private_folder("s3") as directory:
        (port,) = free_ports(1)
        server = S3Server(directory, port)
        try:
            server.start()
            server.reset()
            yield server
        finally:
            server.kill()
