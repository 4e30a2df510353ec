"""A real browser without a window: Chromium, steered by its driver."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from tests.servers.base import find_binary, private_folder


def chromium_binary() -> str:
    """The path of Chromium.

    Raises:
        MissingServerError: it is not installed.
    """
    return find_binary("chromium")


def chromedriver_binary() -> str:
    """The path of Chromium's driver.

    Raises:
        MissingServerError: it is not installed (package chromium-driver).
    """
    return find_binary("chromedriver")


@contextlib.contextmanager
def browser(width: int = 1280, height: int = 900) -> Iterator[Any]:
    """A browser until the end of the block: selenium's ``webdriver.Chrome``.

    Args:
        width: of its pages, in pixels.
        height: likewise.

    Raises:
        MissingServerError: it is not installed.
    """
    program, driver = chromium_binary(), chromedriver_binary()
    # Imported by those who use it: the other servers need the standard library alone.
    from selenium import webdriver

    with private_folder("chromium") as folder:
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for argument in (
            *("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--hide-scrollbars", "--force-device-scale-factor=1", "--lang=en"),
            f"--window-size={width},{height}",
            f"--user-data-dir={folder}",
        ):
            options.add_argument(argument)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # which it refuses to make as root
        opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
        try:
            yield opened
        finally:
            opened.quit()
