"""The app of the pools' tests, for processes that load it for themselves."""

from __future__ import annotations

from tests.conformance.pool_tasks import make_app

app = make_app()
