"""Serializers, typed values and compression."""

import bz2
import dataclasses
import enum
import gzip
import json
import math
import sys
import uuid
import zlib
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.exceptions import ContentDisallowed, DecodeError, EncodeError, ImproperlyConfigured
from taskq.serialization import SerializerRegistry, compress, decompress
from taskq.serialization.plain import all_plain

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]

JSON = "application/json"
BODY: tuple[Any, ...] = (
    (1,),
    {},
    {"callbacks": None, "errbacks": None, "chain": None, "chord": None},
)


@dataclasses.dataclass
class Point:
    x: int
    y: int
    norm: float = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.norm = math.hypot(self.x, self.y)


@dataclasses.dataclass
class Path:
    points: list[Point]
    colour: "Colour"


class Colour(enum.Enum):
    RED = (255, 0, 0)
    BLUE = (0, 0, 255)


class Pair(NamedTuple):
    a: int
    b: int


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Level(enum.IntEnum):
    LOW = 1


class Mood(enum.StrEnum):
    GOOD = "good"


@pytest.fixture
def registry() -> SerializerRegistry:
    registry = SerializerRegistry()
    for cls in (Point, Path, Colour, Rights):
        registry.register_type(cls)
    return registry


def there_and_back(registry: SerializerRegistry, value: Any, name: str = "json") -> Any:
    encoded = registry.encode(value, name)
    return registry.decode(encoded.body, encoded.content_type, encoded.content_encoding)


def json_of(registry: SerializerRegistry, value: Any) -> bytes:
    return registry.encode(value, "json").body


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class TestPlainJson:
    @given(plain_values)
    def test_as_the_standard_library(self, value: Any) -> None:
        registry = SerializerRegistry()
        body = json_of(registry, value)
        assert json.loads(body) == value
        assert registry.decode(json.dumps(value).encode(), JSON) == value

    @pytest.mark.parametrize(
        "value",
        [
            2**64,
            -(2**63) - 1,
            10**400,
            float("inf"),
            float("-inf"),
            [1.5, float("inf")],
            {"a": [float("-inf")]},
            "\ud800",
            {"\ud800": 1},
            -0.0,
            1e16,
            {7: "a", True: "b", None: "c", 1.5: "d"},
            OrderedDict(a=1),
            Pair(1, 2),
            Level.LOW,
            Mood.GOOD,
            {Mood.GOOD: 1},
            {Level.LOW: 1},
            [[]] * 3,
            {"__type__": 1},
            "__type__",
        ],
    )
    def test_odd_values_as_the_standard_library(
        self, registry: SerializerRegistry, value: Any
    ) -> None:
        expected = json.loads(json.dumps(value))
        assert there_and_back(registry, value) == expected
        assert json.loads(json_of(registry, value)) == expected
        assert registry.decode(json.dumps(value).encode(), JSON) == expected

    def test_nan(self, registry: SerializerRegistry) -> None:
        for value in (float("nan"), [float("nan")], {"a": [1.5, float("nan")]}):
            assert b"NaN" in json_of(registry, value)
        assert math.isnan(registry.decode(b"NaN", JSON))
        assert registry.decode(b"1e400", JSON) == math.inf

    def test_plain_data_takes_the_fast_way(self) -> None:
        assert all_plain(BODY)
        assert all_plain([1, "a", None, True, 1.5, [{"a": [()]}], {}, {"__type__": 1}])
        looks_tagged = {"__type__": "date", "__value__": ""}
        odds: list[Any] = [math.nan, Level.LOW, b"", {1: 1}, set(), OrderedDict(), looks_tagged]
        for odd in odds:
            assert not all_plain([odd])
            assert not all_plain([{"a": [1, [odd]]}])

    def test_deep_data(self, registry: SerializerRegistry) -> None:
        value: Any = 1
        for _ in range(100):
            value = [value]
        assert there_and_back(registry, value) == value

    @pytest.mark.parametrize("name", ["json", "msgpack"])
    def test_data_that_contains_itself(self, registry: SerializerRegistry, name: str) -> None:
        value: list[Any] = []
        value.append(value)
        with pytest.raises(EncodeError, match="contains itself"):
            registry.encode(value, name)

    @pytest.mark.parametrize("body", [b"", b"{", b"[1,]", b"\xff", b'"\xed\xa0\x80"', b"[" * 99999])
    def test_what_is_no_json(self, registry: SerializerRegistry, body: bytes) -> None:
        with pytest.raises(DecodeError, match="data is not valid json"):
            registry.decode(body, JSON)


TYPED = [
    datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC),
    datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(2026, 3, 4),  # noqa: DTZ001 - without a time zone on purpose
    date(2026, 3, 4),
    time(5, 6, 7, 89),
    uuid.UUID(int=7),
    Decimal("1.10"),
    b"text",
    b"\xff\x00",
]
OURS = [
    timedelta(days=-3, seconds=5, microseconds=7),
    {1, 2},
    {(1, ("a",)), "b"},
    frozenset({"a"}),
    Point(3, 4),
    Path([Point(3, 4), Point(0, 0)], Colour.BLUE),
    Colour.RED,
    Rights.READ,
    Rights.READ | Rights.WRITE,
    {"__type__": "datetime", "__value__": "no date"},
    {"__type__": {"__type__": 1, "__value__": 2}, "__value__": [date(2026, 3, 4)]},
]


def _kind(value: object) -> str:
    """What a test of it is called: how a set is written is another in each process."""
    return type(value).__name__


class TestTypes:
    @pytest.mark.parametrize("name", ["json", "msgpack", "pickle"])
    @pytest.mark.parametrize("value", TYPED + OURS, ids=_kind)
    def test_there_and_back(self, registry: SerializerRegistry, value: Any, name: str) -> None:
        content_type = registry.encode(None, name).content_type
        body = registry.encode([{"a": value}], name).body
        back = registry.decode(body, content_type, accept=frozenset({content_type}))
        assert back == [{"a": value}]
        assert type(back[0]["a"]) is type(value)

    @pytest.mark.parametrize("value", TYPED, ids=_kind)
    def test_kombu_writes_and_reads_the_same(
        self, registry: SerializerRegistry, value: Any
    ) -> None:
        from kombu.utils.json import dumps, loads

        assert loads(json_of(registry, [value])) == [value]
        assert registry.decode(dumps([value]).encode(), JSON) == [value]
        assert json.loads(json_of(registry, value)) == json.loads(dumps(value))

    def test_kombu_reads_plain_bodies(self, registry: SerializerRegistry) -> None:
        from kombu.utils.json import dumps, loads

        assert loads(json_of(registry, BODY)) == loads(dumps(BODY))
        assert registry.decode(dumps(BODY).encode(), JSON) == loads(dumps(BODY))

    def test_content_types_are_kombus(self, registry: SerializerRegistry) -> None:
        from kombu.serialization import registry as kombu_registry

        for name in ("json", "msgpack", "yaml", "pickle"):
            encoded = registry.encode([1], name)
            content_type, encoding, _ = kombu_registry.dumps([1], serializer=name)
            assert (encoded.content_type, encoded.content_encoding) == (content_type, encoding)
            assert kombu_registry.loads(*reordered(encoded), accept=[content_type]) == [1]

    def test_json_method(self, registry: SerializerRegistry) -> None:
        class Own:
            def __json__(self) -> dict[str, object]:
                return {"at": date(2026, 3, 4)}

        assert there_and_back(registry, [Own()]) == [{"at": date(2026, 3, 4)}]

    def test_subclasses_of_known_types(self, registry: SerializerRegistry) -> None:
        class Moment(datetime):
            pass

        moment = Moment(2026, 3, 4, tzinfo=UTC)
        assert there_and_back(registry, moment) == datetime(2026, 3, 4, tzinfo=UTC)

    def test_no_encoding(self, registry: SerializerRegistry) -> None:
        with pytest.raises(EncodeError) as caught:
            registry.encode({"args": [1, {"file": object()}]}, "json")
        assert str(caught.value) == (
            "cannot serialize builtins:object at data['args'][1]['file']: send plain data "
            "instead, or make the type known with register_type(cls, encode=…, decode=…)"
        )

    def test_the_way_leads_into_objects(self, registry: SerializerRegistry) -> None:
        with pytest.raises(EncodeError, match=r"complex at data\[0\]\['fields'\]\['x'\]"):
            registry.encode([_with_x(1j)], "json")

    @pytest.mark.parametrize("name", ["json", "msgpack"])
    def test_keys_that_cannot_be_encoded(self, registry: SerializerRegistry, name: str) -> None:
        with pytest.raises(EncodeError, match=r"tuple at data\['a'\]"):
            registry.encode({"a": {(1, 2): 3}}, name)

    @pytest.mark.parametrize("value", [1j, print, object, lambda: 1, iter(())])
    @pytest.mark.parametrize("name", ["json", "msgpack", "yaml"])
    def test_what_cannot_be_sent(self, registry: SerializerRegistry, value: Any, name: str) -> None:
        with pytest.raises(EncodeError):
            registry.encode([value], name)

    @pytest.mark.parametrize(
        "tagged",
        [
            {"__type__": "datetime", "__value__": "yesterday"},
            {"__type__": "datetime", "__value__": 3},
            {"__type__": "uuid", "__value__": {}},
            {"__type__": "set", "__value__": [{}]},
            {"__type__": "timedelta", "__value__": [1e300]},
            {"__type__": "no such type", "__value__": 1},
            {"__type__": ["list"], "__value__": 1},
            {"__type__": "dataclass", "__value__": {"class": "os:system", "fields": {}}},
            {"__type__": "dataclass", "__value__": {"class": ["x"], "fields": {}}},
            {"__type__": "dataclass", "__value__": 1},
        ],
    )
    def test_bad_tags(self, registry: SerializerRegistry, tagged: Any) -> None:
        with pytest.raises(DecodeError):
            registry.decode(json.dumps([tagged]).encode(), JSON)

    @pytest.mark.parametrize("extra", [{"__type__": "date"}, {"a": 1, "__type__": "date"}])
    def test_what_only_resembles_a_tagged_object(
        self, registry: SerializerRegistry, extra: dict[str, Any]
    ) -> None:
        assert there_and_back(registry, extra) == extra


def reordered(encoded: Any) -> tuple[bytes, str, str]:
    return encoded.body, encoded.content_type, encoded.content_encoding


def _with_x(x: Any) -> Point:
    point = Point(0, 0)
    point.x = x
    return point


@dataclasses.dataclass
class Unknown:
    a: int


class Shape(enum.Enum):
    ROUND = 1


@dataclasses.dataclass
class Inner:
    shape: Shape | None = None


@dataclasses.dataclass
class Outer:
    inner: dict[str, list[Inner]]


class TestClasses:
    def test_unknown_classes_are_refused(self, registry: SerializerRegistry) -> None:
        body = json_of(registry, Unknown(1))
        assert sys.modules[Unknown.__module__].__dict__["Unknown"] is Unknown
        with pytest.raises(DecodeError, match=f"'{Unknown.__module__}:Unknown'.*register_type"):
            registry.decode(body, JSON)

    @pytest.mark.parametrize("name", ["json", "msgpack"])
    def test_unknown_classes_as_plain_data(self, name: str) -> None:
        lenient = SerializerRegistry(strict_types=False)
        value = [Unknown(1), Shape.ROUND, date(2026, 3, 4)]
        assert there_and_back(lenient, value, name) == [{"a": 1}, "ROUND", date(2026, 3, 4)]
        tagged = b'{"__type__": "no such type", "__value__": 1}'
        assert lenient.decode(tagged, JSON) == 1

    def test_annotations_make_classes_known(self) -> None:
        def task(a: "Outer | None", *rest: int) -> list[Point]:
            raise NotImplementedError

        registry = SerializerRegistry()
        registry.register_annotations(task)
        value = [Outer({"a": [Inner(Shape.ROUND)]}), Point(1, 2)]
        assert there_and_back(registry, value) == value
        with pytest.raises(DecodeError):
            there_and_back(registry, Unknown(1))

    def test_annotations_that_cannot_be_read(self) -> None:
        def bad(a: "Missing") -> None: ...

        def good(a: Point) -> None: ...

        registry = SerializerRegistry()
        registry.register_annotations(bad)
        registry.register_annotations(good)
        assert there_and_back(registry, Point(1, 2)) == Point(1, 2)

    def test_a_name_of_its_own(self) -> None:
        registry = SerializerRegistry()
        registry.register_type(Point, "geo.point")
        assert b'"geo.point"' in json_of(registry, Point(1, 2))
        assert there_and_back(registry, Point(1, 2)) == Point(1, 2)

    def test_names_are_given_once(self) -> None:
        registry = SerializerRegistry()
        registry.register_type(Point, "a")
        registry.register_type(Point, "a")
        with pytest.raises(ImproperlyConfigured, match="type name 'a' belongs to"):
            registry.register_type(Colour, "a")

    def test_registering_what_cannot_be_sent_by_itself(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="'builtins:complex' is no dataclass"):
            SerializerRegistry().register_type(complex)

    def test_own_encoding(self) -> None:
        registry = SerializerRegistry()
        registry.register_type(
            complex,
            "complex",
            encode=lambda value: [value.real, value.imag],
            decode=lambda parts: complex(*parts),
        )
        assert there_and_back(registry, {"a": 1 + 2j}) == {"a": 1 + 2j}
        from kombu.utils.json import loads

        with pytest.raises(ValueError, match="Unsupported type"):
            loads(json_of(registry, 1j))

    def test_own_encoding_to_plain_data(self) -> None:
        registry = SerializerRegistry()
        registry.register_type(complex, encode=str)
        assert there_and_back(registry, [1j]) == ["1j"]

    def test_fields_that_do_not_fit(self, registry: SerializerRegistry) -> None:
        name = f"{Point.__module__}:Point"
        tagged = {"__type__": "dataclass", "__value__": {"class": name, "fields": {"z": 1}}}
        with pytest.raises(DecodeError, match=r"'dataclass' cannot be read.*'z'"):
            registry.decode(json.dumps(tagged).encode(), JSON)

    @pytest.mark.parametrize("name", ["json", "msgpack"])
    def test_pydantic(self, name: str) -> None:
        pydantic = pytest.importorskip("pydantic")

        class Address(pydantic.BaseModel):  # type: ignore[name-defined, misc]
            street: str = pydantic.Field(alias="road")
            since: date

        class Person(pydantic.BaseModel):  # type: ignore[name-defined, misc]
            home: Address
            limit: Decimal

        registry = SerializerRegistry()
        registry.register_type(Person)
        person = Person(home=Address(road="Elm", since=date(2026, 3, 4)), limit=Decimal("1.10"))
        assert there_and_back(registry, [person], name) == [person]


class TestRegistry:
    def test_forbidden_content_is_not_decoded(self) -> None:
        calls: list[bytes] = []
        registry = SerializerRegistry()
        registry.register("own", repr_bytes, calls.append, "application/x-own")
        with pytest.raises(ContentDisallowed, match=r"'application/x-own' is refused.*accept_con"):
            registry.decode(b"x", "application/x-own", accept=frozenset({JSON}))
        assert calls == []
        registry.decode(b"x", "application/x-own", accept=frozenset({"application/x-own"}))
        assert calls == [b"x"]

    def test_unknown_content_is_forbidden_too(self) -> None:
        with pytest.raises(ContentDisallowed):
            SerializerRegistry().decode(b"x", "text/plain", accept=frozenset({JSON}))
        with pytest.raises(DecodeError, match="no serializer reads content type 'text/plain'"):
            SerializerRegistry().decode(b"x", "text/plain")

    def test_pickle_is_read_only_where_it_is_listed(self, registry: SerializerRegistry) -> None:
        encoded = registry.encode({1, 2}, "pickle")
        for accept in (None, frozenset({JSON})):
            with pytest.raises(ContentDisallowed):
                registry.decode(encoded.body, encoded.content_type, accept=accept)
        accept = registry.content_types(["pickle"])
        assert registry.decode(encoded.body, encoded.content_type, accept=accept) == {1, 2}

    def test_pickle_errors(self, registry: SerializerRegistry) -> None:
        with pytest.raises(EncodeError, match="cannot pickle the data"):
            registry.encode(lambda: 1, "pickle")
        accept = registry.content_types(["pickle"])
        with pytest.raises(DecodeError, match="not valid pickle"):
            registry.decode(b"x", next(iter(accept)), accept=accept)

    def test_content_types(self, registry: SerializerRegistry) -> None:
        names = ["json", "application/x-yaml"]
        assert registry.content_types(names) == {JSON, "application/x-yaml"}
        with pytest.raises(
            ImproperlyConfigured, match=r"unknown serializer 'jsn': .* json, msgpack, yaml, pickle"
        ):
            registry.content_types(["jsn"])
        with pytest.raises(ImproperlyConfigured, match="unknown serializer 'jsn'"):
            registry.encode(1, "jsn")

    def test_own_serializers_errors(self) -> None:
        registry = SerializerRegistry()

        def fail(_: Any) -> Any:
            raise ZeroDivisionError("why")

        registry.register("own", fail, fail, "application/x-own")
        with pytest.raises(EncodeError, match="serializer 'own' cannot encode the data: why"):
            registry.encode(1, "own")
        with pytest.raises(DecodeError, match=r"data is not valid own .*why.*begins with b'abc'"):
            registry.decode(b"abc", "application/x-own")

    def test_registries_are_apart(self) -> None:
        one, other = SerializerRegistry(), SerializerRegistry()
        one.register("own", repr_bytes, len, "application/x-own")
        with pytest.raises(ImproperlyConfigured):
            other.encode(1, "own")

    def test_yaml(self, registry: SerializerRegistry) -> None:
        value = {"a": [1, None, date(2026, 3, 4)]}
        assert there_and_back(registry, value, "yaml") == value
        with pytest.raises(DecodeError, match="not valid yaml"):
            registry.decode(b"!!python/object/apply:os.getcwd []", "application/x-yaml")

    def test_yaml_is_not_installed(
        self, registry: SerializerRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "yaml", None)
        with pytest.raises(ImproperlyConfigured, match=r"pip install taskq\[yaml\]"):
            registry.encode(1, "yaml")
        with pytest.raises(ImproperlyConfigured, match=r"pip install taskq\[yaml\]"):
            registry.decode(b"1", "application/x-yaml")

    def test_msgpack(self, registry: SerializerRegistry) -> None:
        value = {"a": [1, None, 1.5, b"\xff"], "b": {"__type__": 1}}
        assert there_and_back(registry, value, "msgpack") == value
        body = registry.encode({"a": b"\xff"}, "msgpack").body
        assert msgspec.msgpack.decode(body) == {"a": b"\xff"}
        with pytest.raises(DecodeError, match="not valid msgpack"):
            registry.decode(b"\xc1", "application/x-msgpack")
        with pytest.raises(EncodeError):
            registry.encode(2**64, "msgpack")


def repr_bytes(value: Any) -> bytes:
    return repr(value).encode()


METHODS = {
    "gzip": "application/x-gzip",
    "zlib": "application/x-gzip",
    "bzip2": "application/x-bz2",
    "lzma": "application/x-lzma",
    "xz": "application/x-lzma",
    "brotli": "application/x-brotli",
    "zstd": "application/zstd",
}
MODULES = {"brotli": "brotli", "zstd": "backports.zstd"}


class TestCompression:
    @pytest.fixture(params=METHODS)
    def method(self, request: pytest.FixtureRequest) -> str:
        name: str = request.param
        if name in MODULES and sys.version_info < (3, 14):
            pytest.importorskip(MODULES[name])
        return name

    @pytest.mark.parametrize("body", [b"", b"abc", b"taskq" * 100_000], ids=len)
    def test_there_and_back(self, method: str, body: bytes) -> None:
        compressed, content_type = compress(body, method)
        assert content_type == METHODS[method]
        assert decompress(compressed, content_type, max_size=len(body)) == body
        assert compress(body, content_type)[1] == content_type

    def test_kombu_does_the_same(self, method: str) -> None:
        from kombu import compression

        body = b"taskq" * 1000
        if METHODS[method] not in compression.encoders():
            pytest.skip("kombu has no such compression here")
        compressed, content_type = compress(body, method)
        assert compression.decompress(compressed, content_type) == body
        assert decompress(*compression.compress(body, method)) == body

    @pytest.mark.parametrize("size", [1000, 5_000_000])
    def test_bombs(self, method: str, size: int) -> None:
        compressed, content_type = compress(bytes(size), method)
        limit = size - 1
        with pytest.raises(DecodeError, match=f"unfold to more than {limit} bytes"):
            decompress(compressed, content_type, max_size=limit)
        with pytest.raises(DecodeError, match="unfold to more than 10 bytes"):
            decompress(compressed, content_type, max_size=10)

    def test_damage(self, method: str) -> None:
        compressed, content_type = compress(b"taskq" * 1000, method)
        for damaged in (compressed[:-3], b"\xff" * 20, b""):
            with pytest.raises(DecodeError):
                decompress(damaged, content_type)

    def test_the_header_of_gzip_is_read_too(self) -> None:
        assert decompress(gzip.compress(b"abc"), "gzip") == b"abc"
        assert decompress(zlib.compress(b"abc"), "application/x-gzip") == b"abc"
        assert decompress(bz2.compress(b"abc"), "application/x-bz2") == b"abc"

    def test_unknown(self) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"unknown compression 'zip': .*gzip, bzip2"):
            compress(b"", "zip")
        with pytest.raises(DecodeError, match="unknown compression 'application/zip'"):
            decompress(b"", "application/zip")

    def test_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "brotli", None)
        with pytest.raises(ImproperlyConfigured, match=r"'brotli' needs pip install taskq\[brot"):
            compress(b"", "brotli")
        with pytest.raises(ImproperlyConfigured, match=r"'brotli' needs pip install taskq\[brot"):
            decompress(b"", "application/x-brotli")
