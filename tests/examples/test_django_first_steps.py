"""Whoever follows the first steps with Django gets where the page says, on each of them."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.examples.first_steps import PASSWORD, PATIENCE, Newcomer
from tests.examples.pages import log_in, text_of, wait_for_text
from tests.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "django-first-steps.md"


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    newcomer = Newcomer(tmp_path)
    yield newcomer
    newcomer.close()


@pytest.mark.timeout(300)  # many processes, on a machine that may be busy
def test_the_page(newcomer: Newcomer, driver: Any) -> None:
    _, *sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    looked = 0
    for section in sections:
        title, _, text = section.partition("\n")
        newcomer.follow(text)
        if look := LOOKS.get(title):
            look(newcomer, driver)
            looked += 1
    assert looked == len(LOOKS)


def _see_the_result(newcomer: Newcomer, driver: Any) -> None:
    driver.get(f"{newcomer.url}admin/")
    log_in(driver, "ada", PASSWORD)
    driver.find_element("link text", "Task results").click()
    (row,) = driver.find_elements("css selector", "#result_list tbody tr")
    assert "polls.tasks.add" in row.text
    assert "2, 3" in row.text
    assert "SUCCESS" in row.text
    row.find_element("css selector", "th a").click()
    assert driver.find_element("css selector", ".field-result_shown .readonly").text == "5"


def _call_the_view(newcomer: Newcomer, driver: Any) -> None:
    def is_there() -> bool:
        try:
            with urllib.request.urlopen(f"{newcomer.url}vote/", timeout=PATIENCE):
                return True
        except OSError:
            return False  # not yet: the web server starts anew for the changed file

    wait_until(is_there, PATIENCE, "the view")
    driver.get(f"{newcomer.url}vote/")
    assert text_of(driver) == "counted"

    def ran() -> bool:
        driver.get(f"{newcomer.url}admin/taskq/taskresult/?q=polls.tasks.add")
        return len(driver.find_elements("css selector", "#result_list tbody tr")) > 1

    wait_until(ran, PATIENCE, "the task that the view has sent")


def _have_it_run(newcomer: Newcomer, driver: Any) -> None:
    driver.get(f"{newcomer.url}admin/")
    driver.find_element("link text", "Periodic tasks").click()
    driver.find_element("css selector", ".object-tools .addlink").click()
    fields = {"name": "sum", "task": "polls.tasks.add", "every": "1", "args": "[20, 30]"}
    for name, value in fields.items():
        field = driver.find_element("name", name)
        field.clear()
        field.send_keys(value)
    driver.find_element("css selector", "[name=period] option[value=seconds]").click()
    driver.find_element("name", "_save").click()
    wait_for_text(driver, "was added successfully")

    def ran() -> bool:
        driver.get(f"{newcomer.url}admin/taskq/taskresult/?q=20,+30")
        return bool(driver.find_elements("css selector", ".taskq-state-success"))

    wait_until(ran, PATIENCE, "beat to have sent it")


LOOKS = {
    "See it in the admin": _see_the_result,
    "Call it from a view": _call_the_view,
    "Have it run by itself": _have_it_run,
}
"""What the page says in words at the end of a section."""
