"""Makes the pictures of the admin for the guide: ``python -m tests.django.pictures``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.cli.processes import TASKQ
from tests.django.admin_project import AdminProject, Page
from tests.servers import browser

FOLDER = Path(__file__).parents[2] / "docs" / "_static"


def main() -> None:
    """Write them to ``docs/_static``."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        project = AdminProject(Path(folder))
        try:
            _take(project)
        finally:
            project.close()


def _take(project: AdminProject) -> None:
    project.serve()
    beat = project.start(TASKQ, "-A", "proj", "beat", "-l", "INFO")
    beat.wait_for("entries")
    project.worker("-c", "2", "-n", "worker@host", "-Q", "default,reports")
    failed = project.run_calls()
    running = project.shell("from shop.tasks import long; print(long.delay(600).id)").strip()
    with browser(1280, 860) as driver:
        page = Page(driver, project.url)
        page.log_in()
        driver.execute_script("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
        while not page.all(".taskq-state-started"):
            page.go(f"taskresult/?q={running}")
        page.go("taskresult/")
        driver.save_screenshot(str(FOLDER / "django-results.png"))
        page.go(f"taskresult/?q={failed}")
        page.open_first()
        driver.set_window_size(1280, 1400)
        driver.save_screenshot(str(FOLDER / "django-result.png"))
        driver.set_window_size(1280, 800)
        page.go("periodictask/")
        driver.save_screenshot(str(FOLDER / "django-schedule.png"))
        page.go("periodictask/?q=morning")
        page.open_first()
        driver.set_window_size(1280, 1500)
        driver.save_screenshot(str(FOLDER / "django-schedule-entry.png"))


if __name__ == "__main__":
    main()
