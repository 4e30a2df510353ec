"""Settings: declarations, conversion, layers, loading, secrets."""

import sys
import types
from collections.abc import Callable
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest

from taskq.exceptions import ImproperlyConfigured, UnknownSetting
from taskq.settings import SETTINGS, Layer, Settings


class TestDeclarations:
    @pytest.mark.parametrize("name", SETTINGS)
    def test_each_setting_is_whole(self, name: str) -> None:
        item = SETTINGS[name]
        assert item.name == name
        assert item.doc.endswith(".")
        # Its own default is a value that it takes.
        conf = Settings({name: item.default})
        assert conf[name] == item.default

    def test_groups(self) -> None:
        assert SETTINGS["task_serializer"].group == "task"
        assert SETTINGS["accept_content"].group == "general"
        assert SETTINGS["enable_utc"].group == "general"

    def test_defaults_that_differ_from_celery_on_purpose(self) -> None:
        conf = Settings()
        assert conf.task_acks_late
        assert conf.task_reject_on_worker_lost
        assert conf.task_default_queue == "default"


class TestAccess:
    def test_by_attribute_and_by_name(self) -> None:
        conf = Settings()
        conf.task_serializer = "msgpack"
        conf["result_serializer"] = "yaml"
        assert conf["task_serializer"] == "msgpack"
        assert conf.result_serializer == "yaml"

    def test_it_is_a_mapping(self) -> None:
        conf = Settings(task_serializer="yaml")
        assert set(conf) == set(SETTINGS)
        assert len(conf) == len(SETTINGS)
        assert dict(conf)["task_serializer"] == "yaml"
        assert "task_serializer" in conf
        assert "nonsense" not in conf
        assert conf.get("nonsense", 1) == 1

    def test_deleting_shows_what_is_below(self) -> None:
        conf = Settings()
        conf.load({"task_serializer": "yaml"}, "file")
        conf.task_serializer = "msgpack"
        del conf.task_serializer
        assert conf.task_serializer == "yaml"
        conf.clear()
        assert conf.task_serializer == "yaml"

    def test_defaults_are_not_shared(self) -> None:
        one, other = Settings(), Settings()
        one.broker_transport_options["a"] = 1
        assert other.broker_transport_options == {}
        assert one.changed() == {"broker_transport_options": {"a": 1}}

    def test_unknown_names(self) -> None:
        conf = Settings()
        assert not hasattr(conf, "nonsense")
        with pytest.raises(UnknownSetting):
            conf["nonsense"]
        with pytest.raises(UnknownSetting):
            del conf["nonsense"]
        with pytest.raises(UnknownSetting):
            conf.source("nonsense")
        with pytest.raises(UnknownSetting, match=r"'task_serialiser'.*'task_serializer'"):
            conf.task_serialiser = "json"  # type: ignore[attr-defined]

    def test_unknown_name_message(self) -> None:
        with pytest.raises(UnknownSetting) as caught:
            Settings(task_serialiser="json")
        assert str(caught.value) == (
            "unknown setting 'task_serialiser' (from keyword): did you mean 'task_serializer'? "
            "`taskq settings --all` lists them"
        )

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("CELERY_RESULT_BACKEND", "result_backend"),
            ("CELERY_DEFAULT_QUEUE", "task_default_queue"),
            ("CELERYD_CONCURRENCY", "worker_concurrency"),
            ("BROKER_URL", "broker_url"),
        ],
    )
    def test_old_names_lead_to_new_ones(self, old: str, new: str) -> None:
        with pytest.raises(UnknownSetting, match=f"did you mean '{new}'"):
            Settings({old: "x"})


class TestConversion:
    @pytest.mark.parametrize(
        ("name", "given", "value"),
        [
            ("task_always_eager", "Yes", True),
            ("task_always_eager", "off", False),
            ("task_always_eager", 1, True),
            ("worker_concurrency", "8", 8),
            ("worker_concurrency", 8.0, 8),
            ("worker_concurrency", "", None),
            ("worker_concurrency", "None", None),
            ("worker_concurrency", None, None),
            ("broker_lease", "2.5", 2.5),
            ("broker_lease", 5, 5.0),
            ("broker_lease", timedelta(minutes=1), 60.0),
            ("result_expires", timedelta(hours=1), 3600.0),
            ("result_expires", 0, 0.0),
            ("result_expires", "null", None),
            ("imports", "a.tasks, b.tasks", ("a.tasks", "b.tasks")),
            ("imports", ["a.tasks"], ("a.tasks",)),
            ("accept_content", {"yaml", "json"}, ("json", "yaml")),
            ("result_accept_content", "", None),
            ("broker_transport_options", '{"a": [1]}', {"a": [1]}),
            ("result_backend", "", None),
            ("result_backend", "none", "none"),
            ("timezone", "Europe/Oslo", "Europe/Oslo"),
            ("timezone", UTC, UTC),
            ("task_default_delivery_mode", "transient", 1),
            ("task_default_delivery_mode", "2", 2),
        ],
    )
    def test_what_fits(self, name: str, given: object, value: object) -> None:
        converted = Settings({name: given})[name]
        assert converted == value
        assert type(converted) is type(value)

    @pytest.mark.parametrize(
        ("name", "given"),
        [
            ("task_always_eager", "perhaps"),
            ("task_always_eager", 2),
            ("task_always_eager", None),
            ("worker_concurrency", True),
            ("worker_concurrency", 1.5),
            ("worker_concurrency", "1.5"),
            ("worker_concurrency", 0),
            ("worker_concurrency", float("inf")),
            ("broker_lease", "nan"),
            ("broker_lease", None),
            ("broker_lease", 0.5),
            ("broker_url", b"redis://"),
            ("imports", [1]),
            ("imports", b"a"),
            ("imports", {"a": 1}),
            ("broker_transport_options", "[1]"),
            ("broker_transport_options", "{"),
            ("broker_transport_options", [("a", 1)]),
            ("timezone", 3),
            ("task_default_delivery_mode", "permanent"),
        ],
    )
    def test_what_does_not_fit(self, name: str, given: object) -> None:
        with pytest.raises(ImproperlyConfigured, match=f"setting '{name}' must be "):
            Settings({name: given})

    def test_the_message_says_all(self) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            Settings().load_environ({"TASKQ_WORKER_CONCURRENCY": "many"})
        assert str(caught.value) == (
            "setting 'worker_concurrency' must be a whole number of at least 1 or None, "
            "not 'many' (str, from environment variable TASKQ_WORKER_CONCURRENCY)"
        )

    def test_the_message_keeps_secrets(self) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            Settings(broker_transport_options=["redis://u:hush@host"])
        assert "hush" not in str(caught.value)

    def test_all_or_none(self) -> None:
        conf = Settings()
        with pytest.raises(ImproperlyConfigured):
            conf.update({"task_serializer": "yaml", "worker_concurrency": "many"})
        assert conf.task_serializer == "json"

    def test_the_older_name_sets_both(self) -> None:
        conf = Settings(task_acks_on_failure_or_timeout=False)
        assert not conf.task_acks_on_failure
        assert not conf.task_acks_on_timeout
        conf = Settings(task_acks_on_failure_or_timeout=False, task_acks_on_timeout=True)
        assert not conf.task_acks_on_failure
        assert conf.task_acks_on_timeout


class TestLayers:
    def test_the_higher_layer_wins_in_any_order(self) -> None:
        loads: dict[str, Callable[[Settings], None]] = {
            "assigned": lambda conf: conf.update(task_serializer="assigned"),
            "environment": lambda conf: conf.load_environ({"TASKQ_TASK_SERIALIZER": "environment"}),
            "loaded": lambda conf: conf.load_object({"task_serializer": "loaded"}),
            "added": lambda conf: conf.add_defaults({"task_serializer": "added"}),
        }
        conf = Settings()
        for expected, load in reversed(loads.items()):
            load(conf)
            assert conf.task_serializer == expected
        for load in loads.values():
            load(conf)
        assert conf.task_serializer == "assigned"

    def test_source(self) -> None:
        conf = Settings(task_serializer="yaml")
        assert conf.source("task_serializer") == "keyword"
        assert conf.source("result_serializer") == "default"
        conf.result_serializer = "yaml"
        assert conf.source("result_serializer") == "assignment"
        conf.load({"imports": "a"}, "proj.conf", Layer.LOADED)
        assert conf.source("imports") == "proj.conf"

    def test_interop_changes_defaults_only(self) -> None:
        conf = Settings(celery_interop=True)
        assert conf.task_default_queue == "celery"
        assert conf.source("task_default_queue") == "default (celery_interop)"
        conf.celery_interop = False
        assert conf.task_default_queue == "default"
        conf = Settings(task_default_queue="mine", celery_interop=True)
        assert conf.task_default_queue == "mine"


class TestObjects:
    @pytest.fixture
    def module(self, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
        module = types.ModuleType("proj_settings")
        monkeypatch.setitem(sys.modules, "proj_settings", module)
        return module

    def fill(self, module: types.ModuleType, **names: Any) -> None:
        vars(module).update(names)

    def test_module(self, module: types.ModuleType) -> None:
        self.fill(
            module,
            broker_url="redis://h",
            DEBUG=True,
            helper=1,
            task_helper=len.__class__,
            worker_module=sys,
            _private=1,
        )
        conf = Settings()
        conf.load_object("proj_settings")
        assert conf.changed() == {"broker_url": "redis://h"}
        assert conf.source("broker_url") == "proj_settings"

    def test_a_setting_may_be_a_function(self, module: types.ModuleType) -> None:
        def task_routes(name: str, *args: object) -> None:
            return None

        self.fill(module, task_routes=task_routes)
        conf = Settings()
        conf.load_object(module)
        assert conf.task_routes is task_routes

    def test_a_misspelt_name_in_a_module(self, module: types.ModuleType) -> None:
        self.fill(module, task_serialiser="json")
        with pytest.raises(UnknownSetting, match=r"from proj_settings.*'task_serializer'"):
            Settings().load_object(module)

    def test_an_old_name_in_a_module(self, module: types.ModuleType) -> None:
        self.fill(module, CELERY_RESULT_BACKEND="redis://")
        with pytest.raises(UnknownSetting, match="did you mean 'result_backend'"):
            Settings().load_object(module)

    @pytest.mark.parametrize("namespace", ["TASKQ", "CELERY", "celery_"])
    def test_namespace(self, module: types.ModuleType, namespace: str) -> None:
        prefix = namespace.rstrip("_").upper()
        self.fill(module, **{f"{prefix}_TASK_SERIALIZER": "yaml"}, DEBUG=1, task_nonsense=1)
        conf = Settings()
        conf.load_object("proj_settings", namespace)
        assert conf.changed() == {"task_serializer": "yaml"}

    def test_namespace_unknown(self, module: types.ModuleType) -> None:
        self.fill(module, TASKQ_NONSENSE=1)
        with pytest.raises(UnknownSetting, match="'nonsense'"):
            Settings().load_object(module, "TASKQ")

    def test_attributes_of_modules(self, module: types.ModuleType) -> None:
        class Production:
            task_serializer = "yaml"

        self.fill(module, Production=Production, plain={"task_serializer": "msgpack"})
        for path in ("proj_settings:Production", "proj_settings.Production"):
            conf = Settings()
            conf.load_object(path)
            assert conf.task_serializer == "yaml"
        conf = Settings()
        conf.load_object("proj_settings:plain")
        assert conf.task_serializer == "msgpack"

    @pytest.mark.parametrize(
        "path", ["no_such_module", "no.such.module", "proj_settings:nothing", ""]
    )
    def test_paths_to_nothing(self, module: types.ModuleType, path: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=f"cannot load settings from '{path}'"):
            Settings().load_object(path)

    def test_errors_inside_of_the_module_are_its_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "settings_with_error.py").write_text("import no_such_module\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            Settings().load_object("settings_with_error")

    def test_every_unknown_key_of_a_mapping(self) -> None:
        with pytest.raises(UnknownSetting):
            Settings().load_object({"helper": 1})


class TestEnvironment:
    def test_settings_are_taken(self) -> None:
        conf = Settings()
        conf.load_environ(
            {"TASKQ_BROKER_URL": "redis://h", "BROKER_URL": "no", "TASKQ_CONFIG_MODULE": "proj"}
        )
        assert conf.changed() == {"broker_url": "redis://h"}
        assert conf.source("broker_url") == "environment variable TASKQ_BROKER_URL"

    def test_typing_errors_are_found(self) -> None:
        with pytest.raises(UnknownSetting, match=r"TASKQ_BROKER_ULR.*'broker_url'"):
            Settings().load_environ({"TASKQ_BROKER_ULR": "redis://h"})

    def test_names_without_their_group_are_found(self) -> None:
        with pytest.raises(UnknownSetting, match=r"TASKQ_SERIALIZER.*'task_serializer'"):
            Settings().load_environ({"TASKQ_SERIALIZER": "yaml"})

    @pytest.mark.parametrize(
        "name", ["TASKQ_SERVICE_HOST", "TASKQ_PORT_6379_TCP_ADDR", "TASKQ_WORKER_SERVICE_PORT"]
    )
    def test_names_that_platforms_make_up(self, name: str) -> None:
        conf = Settings()
        conf.load_environ({name: "10.0.0.1"})
        assert conf.changed() == {}


class TestToml:
    @pytest.mark.parametrize("table", ["", "[taskq]\n", "[tool.taskq]\n"])
    def test_tables(self, tmp_path: Path, table: str) -> None:
        path = tmp_path / "conf.toml"
        path.write_text(
            f"{table}worker_concurrency = 4\nimports = ['a', 'b']\n"
            "broker_transport_options = {a = 1}\n"
        )
        conf = Settings()
        conf.load_toml(path)
        assert conf.changed() == {
            "worker_concurrency": 4,
            "imports": ("a", "b"),
            "broker_transport_options": {"a": 1},
        }
        assert conf.source("imports") == str(path)

    def test_other_tools_are_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "pyproject.toml"
        path.write_text("[project]\nname = 'a'\n[tool.ruff]\nline-length = 100\n")
        conf = Settings()
        conf.load_toml(path)
        assert conf.changed() == {}

    @pytest.mark.parametrize("content", ["= 1", None, b"\xff"])
    def test_unreadable(self, tmp_path: Path, content: str | bytes | None) -> None:
        path = tmp_path / "conf.toml"
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(ImproperlyConfigured, match=r"cannot read settings from '.*conf.toml'"):
            Settings().load_toml(path)

    def test_unknown(self, tmp_path: Path) -> None:
        path = tmp_path / "conf.toml"
        path.write_text("[taskq]\nbroker = 'x'\n")
        with pytest.raises(UnknownSetting, match="unknown setting 'broker'"):
            Settings().load_toml(path)


class TestSecrets:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("redis://user:hush@host:1/0", "redis://user:********@host:1/0"),
            ("redis://:hush@host", "redis://:********@host"),
            ("redis://:hu@sh@host", "redis://:********@host"),
            ("redis://host/0?password=hush&db=1", "redis://host/0?password=********&db=1"),
            ("sentinel://:hush@a;sentinel://:hush@b", None),
            ("redis://host:6379/0", "redis://host:6379/0"),
            ("sqlite:///taskq.db", "sqlite:///taskq.db"),
        ],
    )
    def test_urls(self, url: str, shown: str | None) -> None:
        conf = Settings(broker_url=url, result_backend=url)
        assert "hush" not in repr(conf)
        if shown is not None:
            assert conf.changed().get("broker_url", url) == shown
        assert conf.changed(hide_secrets=False)["result_backend"] == url

    def test_names(self) -> None:
        conf = Settings(
            broker_transport_options={
                "password": "hush",
                "sentinel_kwargs": {"password": "hush"},
                "secret_key": "hush",
                "hosts": [("redis://:hush@h",)],
                "port": 1,
            },
            task_default_routing_key="shown",
        )
        assert "hush" not in repr(conf)
        assert "'port': 1" in repr(conf)
        assert conf.changed()["task_default_routing_key"] == "shown"
