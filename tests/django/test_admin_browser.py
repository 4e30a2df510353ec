"""The admin, as a person sees it: a real browser, web server, worker and database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.processes import TASKQ
from tests.django.admin_project import PATIENCE, AdminProject, Page
from tests.servers import MissingServerError, browser
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminProject]:
    project = AdminProject(tmp_path_factory.mktemp("admin"))
    try:
        project.serve()
        yield project
    finally:
        project.close()


@pytest.fixture
def page(served: AdminProject) -> Iterator[Page]:
    """A page of the admin, logged in."""
    try:
        with browser() as driver:
            page = Page(driver, served.url)
            page.log_in()
            yield page
            said = [line for line in driver.get_log("browser") if line["level"] == "SEVERE"]
            assert [line for line in said if "favicon.ico" not in line["message"]] == []
    except MissingServerError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


def test_results(served: AdminProject, page: Page) -> None:
    worker = served.worker("-c", "2")
    failed = served.run_calls()
    page.go("taskresult/")
    assert len(page.all("#result_list tbody tr")) == 10
    assert "10 task results" in page.text
    # Filtered by state, and found by an argument.
    page.one("#changelist-filter").find_element("link text", "FAILURE").click()
    page.wait_for_rows(1)
    page.go("taskresult/")
    page.fill("q", "photo-3.jpg")
    page.click('#changelist-search input[type="submit"]')
    page.wait_for_rows(1)
    assert "shop.tasks.thumbnail" in page.one("#result_list tbody").text
    # One result, with its traceback.
    page.go(f"taskresult/?q={failed}")
    page.open_first()
    assert "PaymentRefused: order 4711: the card has expired" in page.text
    assert [line.text for line in page.all(".taskq-line-error")][-1].endswith("has expired")
    assert not page.all("input[name=_save]")
    # Sent again, and run by the worker.
    page.go("taskresult/?q=photo-3.jpg")
    page.act("retry", "photo-3.jpg")
    page.wait_for_text("1 call was sent again")

    def run_again() -> bool:
        page.go("taskresult/?q=photo-3.jpg")
        return len(page.all(".taskq-state-success")) == 2

    wait_until(run_again, PATIENCE, "the call to be run again")
    # What runs is terminated.
    long = served.shell("from shop.tasks import long; print(long.delay(600).id)").strip()

    def begun() -> bool:
        page.go(f"taskresult/?q={long}")
        return bool(page.all(".taskq-state-started"))

    wait_until(begun, PATIENCE, "the long task to begin")
    page.open_first()
    page.click('button[value="terminate"]')
    page.wait_for_text("Workers were told to revoke 1 task.")

    def revoked() -> bool:
        page.go(f"taskresult/?q={long}")
        return bool(page.all(".taskq-state-revoked"))

    wait_until(revoked, PATIENCE, "the long task to be revoked")
    page.act("revoke", long)
    page.wait_for_text("1 task has ended already, and is left alone.")
    assert worker.stop() == 0


def test_schedule(served: AdminProject, page: Page) -> None:
    page.go("periodictask/")
    assert "never again" not in page.text
    assert "America/New_York" in page.text
    page.act("enable", "campaign")
    page.wait_for_text("1 is enabled.")
    page.act("disable", "campaign", "thumbnails")
    page.wait_for_text("2 are disabled.")
    # A new one, with mistakes at first.
    page.go("periodictask/add/")
    assert not page.one(".form-row.field-crontab").is_displayed()
    page.choose("kind", "crontab")
    assert page.one(".form-row.field-crontab").is_displayed()
    assert not page.one(".form-row.field-every").is_displayed()
    page.fill("name", "nightly")
    page.fill("task", "shop.tasks.thumbnail")
    page.fill("crontab", "0 25 * * *")
    page.fill("zone", "Europe/Pari")
    page.click("input[name=_save]")
    page.wait_for_text("Please correct the errors below")
    assert "no time zone 'Europe/Pari'" in page.one(".field-zone").text
    assert "missing a required argument: 'image'" in page.one(".field-args").text
    page.fill("zone", "Asia/Tokyo")
    page.fill("args", '["night.png"]')
    page.click("input[name=_save]")
    page.wait_for_text("Please correct the error below")
    assert "25" in page.one(".field-crontab .errorlist").text
    page.fill("crontab", "0 5 * * *")
    page.click("input[name=_continue]")
    page.wait_for_text("was added successfully")
    assert page.one(".field-upcoming_shown").text.count("Asia/Tokyo") == 5
    # Sent now, to a queue that a worker reads.
    page.click('form.taskq-act button[type="submit"]')
    page.wait_for_text("Sent now")
    beat = served.start(TASKQ, "-A", "proj", "beat", "-l", "INFO")
    beat.wait_for("entries")
    with_worker = served.worker("-c", "1")

    def has_run() -> bool:
        page.go("taskresult/?q=night.png")
        return bool(page.all(".taskq-state-success"))

    wait_until(has_run, PATIENCE, "the task to be run")
    # What is written in code is shown, and rests or runs.
    page.go("periodictask/?q=clear-sessions")
    page.act("disable", "clear-sessions")
    page.wait_for_text("1 is disabled.")
    page.open_first()
    assert "Written in code" in page.text
    assert not page.all("input[name=name]")
    # A beat that runs follows an edit.
    page.go("periodictask/?q=nightly")
    page.open_first()
    page.choose("kind", "every")
    page.fill("every", "0.2")
    page.choose("period", "seconds")
    page.click("input[name=_save]")
    beat.wait_for("Sending due task nightly")
    assert beat.stop() == 0
    assert with_worker.stop() == 0


def test_pictures_of_the_guide_are_there() -> None:
    """They are made anew by ``python -m tests.django.pictures``."""
    folder = Path(__file__).parents[2] / "docs" / "_static"
    for name in ("django-results", "django-result", "django-schedule", "django-schedule-entry"):
        assert (folder / f"{name}.png").stat().st_size < 150_000
