"""The example of a Django project: web server, worker, beat, databases and a browser."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.processes import Running
from tests.examples.gallery import Gallery
from tests.examples.pages import PATIENCE, log_in, text_of, wait_for_text
from tests.servers import HOST, PostgreSQLServer
from tests.waiting import wait_until

USER, PASSWORD = "ada", "of a test"


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("redis", marks=pytest.mark.slow),
        pytest.param("rabbitmq", marks=pytest.mark.slow),
    ]
)
def gallery(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Gallery]:
    """The project with its database; with a broker that is a server comes one of PostgreSQL."""
    # A worker that is killed is missed after a second.
    monkeypatch.setenv("TASKQ_BROKER_LEASE", "1")
    gallery = Gallery(tmp_path / "gallery")
    try:
        if request.param == "sqlite":
            yield gallery
            return
        monkeypatch.setenv("TASKQ_BROKER_URL", request.getfixturevalue(request.param).url)
        server: PostgreSQLServer = request.getfixturevalue("postgresql")
        with server.new_database() as name:
            address = {"DATABASE": name, "HOST": HOST, "PORT": str(server.port), "USER": "taskq"}
            for variable, value in address.items():
                monkeypatch.setenv(f"PG{variable}", value)
            yield gallery
    finally:
        gallery.close()


def test_its_own_tests_and_migrations(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    assert "No changes detected" in gallery.manage("makemigrations", "--check")
    assert "\nOK\n" in gallery.run("test")


@pytest.mark.timeout(300)  # many processes, on a machine that may be busy
def test_the_gallery(
    gallery: Gallery, driver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.run("migrate")
    gallery.serve()
    _upload(driver, gallery, tmp_path)
    # Nobody works yet.
    assert "waiting" in text_of(driver)
    _kill_in_the_middle(driver, _worker(gallery))
    worker = _worker(gallery)
    # The page shows the thumbnails by itself once the chord has recorded them.
    wait_for_text(driver, "1280 × 960")
    sizes = driver.execute_script(
        "return Array.from(document.images, image => [image.naturalWidth, image.naturalHeight])"
    )
    assert sizes == [[160, 120], [480, 360], [1280, 960]]
    worker.wait_for("photos.tasks.announce[", PATIENCE)
    wait_until(lambda: any((gallery.folder / "mail").glob("*")), PATIENCE, "a mail")
    (mail,) = (gallery.folder / "mail").iterdir()
    assert "Subject: A new photo" in mail.read_text()
    _report(driver, gallery)
    _admin(driver, gallery, monkeypatch)
    assert worker.stop() == 0


def _worker(gallery: Gallery) -> Running:
    return gallery.begin("taskq worker", "-c", "1", ready="ready.")


def _upload(driver: Any, gallery: Gallery, folder: Path) -> None:
    file = folder / "noise.jpg"
    # Large enough for its thumbnails to take their time.
    Image.effect_noise((4000, 3000), 60).convert("RGB").save(file)
    driver.get(gallery.url)
    driver.find_element("name", "picture").send_keys(str(file))
    driver.find_element("css selector", "form button").click()
    wait_for_text(driver, "Thumbnails are made")


def _kill_in_the_middle(driver: Any, worker: Running) -> None:
    """Kill a worker, with all its processes, when it has made one thumbnail of three."""
    progress = f"{driver.current_url}progress/"

    def percent(width: int) -> int:
        with urllib.request.urlopen(progress, timeout=PATIENCE) as answer:
            return int(json.load(answer)["thumbnails"][str(width)])

    wait_until(lambda: percent(160) == 100, PATIENCE, "the first thumbnail")
    os.killpg(worker.process.pid, signal.SIGSTOP)
    assert percent(1280) < 100
    # The page says how far it is.
    bar = driver.find_element("id", "width-160")
    wait_until(lambda: bar.get_property("value") == 100, PATIENCE, "the page to show that")
    wait_until(lambda: re.search(r"\d+ %", text_of(driver)) is not None, PATIENCE, "progress")
    os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()


def _report(driver: Any, gallery: Gallery) -> None:
    """Beat has the report written, by an entry of the database."""
    driver.get(f"{gallery.url}reports/")
    assert "There is none yet" in text_of(driver)
    beat = gallery.begin("taskq beat", ready="Starting...")
    gallery.manage("taskq", "schedule", "add", "often", "photos.tasks.report", "--every", "1")

    def written() -> bool:
        driver.refresh()
        return "Photos uploaded: 1; thumbnails made: 3." in text_of(driver)

    wait_until(written, PATIENCE, "the report")
    assert beat.stop() == 0
    # By hand, as the README says: the id of the task.
    task_id = gallery.run("taskq call").strip()
    assert gallery.manage("taskq", "result", task_id, "--wait", "30")


def _admin(driver: Any, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """The admin shows the tasks that ran, and the schedule."""
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    who = ("--noinput", "--username", USER, "--email", "ada@example.com")
    gallery.run("createsuperuser", *who)
    driver.get(f"{gallery.url}admin/")
    log_in(driver, USER, PASSWORD)
    driver.get(f"{gallery.url}admin/taskq/taskresult/?q=photos.tasks.record")
    (row,) = driver.find_elements("css selector", "#result_list tbody tr")
    assert row.find_elements("css selector", ".taskq-state-success")
    driver.get(f"{gallery.url}admin/taskq/periodictask/")
    assert {"often", "report"} <= set(text_of(driver).split())
