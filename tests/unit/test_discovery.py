"""Finding modules that hold tasks, and the app that a command line names."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskq import TaskQ, discovery, signals
from taskq.exceptions import ImproperlyConfigured

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules into the working directory: ``write("pkg/tasks.py", "...")``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(path: str, code: str = "") -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        for folder in file.relative_to(tmp_path).parents[:-1]:
            (tmp_path / folder / "__init__.py").touch()
        file.write_text(textwrap.dedent(code))

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def on_path(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is importable, as it is for ``python -m``."""
    monkeypatch.syspath_prepend(Path.cwd())


APP = """
from taskq import TaskQ
app = TaskQ("found", set_as_current=False)
"""


# The app of a command line


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("proj_a.py", APP, "proj_a"),
        ("proj_a.py", APP, "proj_a:app"),
        ("proj_a.py", APP, "proj_a.app"),
        ("proj_a.py", APP + "queue = app\ndel app", "proj_a:queue"),
        ("proj_a.py", APP + "queue = app\ndel app", "proj_a"),
        ("proj_a.py", APP + "class holder:\n    inner = app\ndel app", "proj_a:holder.inner"),
        ("proj_a/__init__.py", APP, "proj_a"),
        ("proj_a/taskq.py", APP, "proj_a"),
        ("proj_a/app.py", APP, "proj_a"),
        ("proj_a/tasks.py", APP, "proj_a"),
        ("proj_a/celery.py", APP.replace("app =", "celery ="), "proj_a"),
        ("proj_a/other.py", APP, "proj_a.other"),
        ("proj_a/other.py", APP, "proj_a.other.app"),
        ("proj_a/deep/er.py", APP, "proj_a.deep.er:app"),
    ],
)
def test_apps_that_are_found(write: Write, path: str, code: str, text: str) -> None:
    write(path, code)
    assert discovery.find_app(text).main == "found"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("proj_b", r"no module 'proj_b'.*did you mean 'proj_a'\?"),
        ("xyz", "no module 'xyz' in .* or on sys.path"),
        ("proj_a.missing", "'proj_a' has no 'missing'|proj_a has no 'missing'"),
        ("proj_a:missing", "proj_a has no 'missing'"),
        ("proj_a:number", "it is a int"),
        ("empty", "no TaskQ object is in it"),
        ("", "-A names a module"),
    ],
)
def test_apps_that_are_not_found(write: Write, text: str, message: str) -> None:
    write("proj_a.py", APP + "number = 5")
    write("empty.py", "from taskq import TaskQ")
    with pytest.raises(ImproperlyConfigured, match=message):
        discovery.find_app(text)


def test_errors_of_the_module_itself_come_through(write: Write) -> None:
    write("proj_a.py", "import not_installed_at_all")
    with pytest.raises(ModuleNotFoundError, match="not_installed_at_all"):
        discovery.find_app("proj_a")
    write("proj_b.py", "1 / 0")
    with pytest.raises(ZeroDivisionError):
        discovery.find_app("proj_b:app")


# Modules that hold tasks


@pytest.mark.usefixtures("on_path")
def test_imports(write: Write) -> None:
    write("first.py", "loaded = 1")
    write("pkg/second.py", "loaded = 2")
    discovery.import_modules(["first", "pkg.second"])
    assert (sys.modules["first"].loaded, sys.modules["pkg.second"].loaded) == (1, 2)


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize("name", ["nowhere", "pkg.nowhere", "nowhere.tasks"])
def test_imports_that_are_missing(write: Write, name: str) -> None:
    write("pkg/tasks.py")
    with pytest.raises(ImproperlyConfigured, match=r"no module '(pkg\.)?nowhere'.*imports and"):
        discovery.import_modules([name])


@pytest.mark.usefixtures("on_path")
def test_imports_that_fail_themselves(write: Write) -> None:
    write("first.py", "import not_installed_at_all")
    with pytest.raises(ModuleNotFoundError, match="not_installed_at_all"):
        discovery.import_modules(["first"])


@pytest.mark.usefixtures("on_path")
def test_related_modules(write: Write) -> None:
    write("pkg_a/tasks.py", "loaded = 1")
    write("pkg_b/other.py")
    write("plain.py")
    discovery.import_related(["pkg_a", "pkg_b", "plain"], "tasks")
    assert sys.modules["pkg_a.tasks"].loaded == 1
    assert "pkg_b.other" not in sys.modules
    discovery.import_related(["pkg_b"], "other")
    assert "pkg_b.other" in sys.modules


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize("related", ["tasks", None])
def test_packages_that_are_missing(write: Write, related: str | None) -> None:
    write("pkg/tasks.py")
    for name in ("nowhere", "pkg.nowhere"):
        with pytest.raises(ImproperlyConfigured, match=f"no module '{name}'.*autodiscover_tasks"):
            discovery.import_related([name], related)


@pytest.mark.usefixtures("on_path")
def test_packages_themselves(write: Write) -> None:
    write("plain.py", "loaded = 1")
    discovery.import_related(["plain"], None)
    assert sys.modules["plain"].loaded == 1


@pytest.mark.usefixtures("on_path")
def test_related_modules_that_fail_themselves(write: Write) -> None:
    write("pkg_a/tasks.py", "import not_installed_at_all")
    with pytest.raises(ModuleNotFoundError, match="not_installed_at_all"):
        discovery.import_related(["pkg_a"], "tasks")


# What an app makes of it


@pytest.mark.usefixtures("on_path")
def test_an_app_loads_its_modules_once(write: Write) -> None:
    write("named.py", "loaded = 1")
    write("included.py", "loaded = 1")
    write("pkg_a/tasks.py", "loaded = 1")
    write("pkg_b/jobs.py", "loaded = 1")
    heard = []
    app = TaskQ("own", include=["included"], imports=["named"], set_as_current=False)
    app.autodiscover_tasks(["pkg_a"])
    app.autodiscover_tasks(lambda: ["pkg_b"], related_name="jobs")
    app.on_after_finalize.connect(lambda **kwargs: heard.append("finalized"), weak=False)

    def imported(sender: TaskQ, **kwargs: object) -> None:
        heard.append("imported")

    signals.import_modules.connect(imported)
    try:
        assert "named" not in sys.modules
        app.load_modules()
        app.finalize()
    finally:
        signals.import_modules.disconnect(imported)
    assert {"named", "included", "pkg_a.tasks", "pkg_b.jobs"} <= set(sys.modules)
    assert heard == ["imported", "finalized"]


@pytest.mark.usefixtures("on_path")
def test_discovering_at_once(write: Write) -> None:
    write("pkg_a/tasks.py", "loaded = 1")
    TaskQ("own", set_as_current=False).autodiscover_tasks(["pkg_a"], force=True)
    assert "pkg_a.tasks" in sys.modules
