"""From what ``result_backend`` says to a store, as far as that takes no server."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from taskq import TaskQ
from taskq.backends.base import Backend
from taskq.backends.disabled import DisabledBackend
from taskq.backends.memory import MemoryBackend
from taskq.backends.registry import ENTRY_POINTS, make_backend
from taskq.exceptions import ImproperlyConfigured
from taskq.settings import Settings


class MyStore(MemoryBackend):
    """A store of a package of one's own."""


def make_mine(url: str, conf: Settings) -> Backend:
    assert url == "mine://somewhere?x=1"
    return MyStore(conf.result_expires or 0.0)


@pytest.mark.parametrize("name", ["disabled", "disabled://"])
def test_no_store(name: str) -> None:
    assert isinstance(make_backend(name, Settings()), DisabledBackend)


@pytest.mark.parametrize("name", ["memory://", "cache+memory://"])
def test_the_store_in_memory(name: str) -> None:
    assert isinstance(make_backend(name, Settings()), MemoryBackend)


def test_a_store_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", f"{__name__}:make_mine", ENTRY_POINTS)

    def entry_points(group: str, name: str) -> list[EntryPoint]:
        return [entry] if (group, name) == (ENTRY_POINTS, "mine") else []

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    monkeypatch.setattr(EntryPoint, "load", lambda self: make_mine)
    url = "mine://somewhere?x=1"
    with TaskQ("proj", "memory://", url, set_as_current=False, result_expires=7) as app:
        assert isinstance(app.backend, MyStore)
        assert app.backend.expires == 7.0


@pytest.mark.parametrize("url", ["nothing://here", "cache+nothing://a", "rpc+x://user:pw@h"])
def test_what_there_is_no_store_for(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="there is no result store for") as caught:
        make_backend(url, Settings())
    assert "pw" not in str(caught.value)
    assert "s3://" in str(caught.value)


@pytest.mark.parametrize("url", ["redis", "sqlite", ""])
def test_words_that_are_no_store(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="is no URL"):
        make_backend(url, Settings())
