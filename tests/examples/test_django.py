"""The example of a Django project: web server, worker, beat and databases as it has them."""

from __future__ import annotations

from pathlib import Path

from tests.examples.gallery import Gallery


def test_its_own_tests_and_migrations(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    assert "No changes detected" in gallery.manage("makemigrations", "--check")
    assert "\nOK\n" in gallery.run("test")
