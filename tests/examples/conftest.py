"""A real browser for the examples that have pages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import MissingServerError, browser


@pytest.fixture
def driver() -> Iterator[Any]:
    """A browser, on whose pages nothing may fail."""
    try:
        with browser() as driver:
            yield driver
            errors = [line for line in driver.get_log("browser") if line["level"] == "SEVERE"]
            # The admin's pages name no icon, and browsers ask for one all the same.
            assert [line for line in errors if "/favicon.ico" not in line["message"]] == []
    except MissingServerError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
