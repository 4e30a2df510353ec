"""What people do on the pages of a Django project, in a real browser."""

from __future__ import annotations

from typing import Any

from tests.waiting import wait_until

PATIENCE = 60.0


def text_of(driver: Any) -> str:
    """What the page says; asked in one step, as the page may be replaced at any moment."""
    return str(driver.execute_script("return document.body?.innerText ?? ''"))


def wait_for_text(driver: Any, text: str) -> None:
    """Wait until the page says something."""
    wait_until(lambda: text in text_of(driver), PATIENCE, f"the page to say {text!r}")


def log_in(driver: Any, user: str, password: str) -> None:
    """Log in to the admin, whose page is open."""
    driver.find_element("name", "username").send_keys(user)
    driver.find_element("name", "password").send_keys(password)
    driver.find_element("css selector", "input[type=submit]").click()
    wait_for_text(driver, "Site administration")
