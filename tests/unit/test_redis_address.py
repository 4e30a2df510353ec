"""What Redis URLs and the settings that go with them mean."""

from __future__ import annotations

from typing import Any

import pytest

from taskq.exceptions import ImproperlyConfigured
from taskq.settings import Settings
from taskq.stores.redis import Address
from taskq.stores.redis.address import address


def parse(
    url: str,
    settings: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    tls: dict[str, Any] | None = None,
) -> Address:
    return address(url, Settings(settings or {}), options or {}, tls)


def test_one_server() -> None:
    found = parse("redis://me:pa%2Fss@there:7000/3")
    assert (found.nodes, found.db, found.tls, found.cluster) == (
        (("there", 7000),),
        3,
        False,
        False,
    )
    assert (found.options["username"], found.options["password"]) == ("me", "pa/ss")
    assert "pa" not in found.shown


def test_what_is_left_out() -> None:
    found = parse("redis://")
    assert (found.nodes, found.db) == ((("localhost", 6379),), 0)
    assert "password" not in found.options
    assert found.options["socket_connect_timeout"] == 4.0
    assert found.options["socket_timeout"] == 10.0


def test_settings_fill_in() -> None:
    conf = {
        "redis_host": "elsewhere",
        "redis_port": 7001,
        "redis_db": 2,
        "redis_username": "me",
        "redis_password": "secret",
        "redis_client_name": "proj",
        "redis_socket_timeout": 3,
        "redis_socket_connect_timeout": 1,
    }
    found = parse("redis://", conf)
    assert (found.nodes, found.db) == ((("elsewhere", 7001),), 2)
    assert found.options == {
        "socket_timeout": 3.0,
        "socket_connect_timeout": 1.0,
        "socket_keepalive": True,
        "client_name": "proj",
        "username": "me",
        "password": "secret",
    }
    assert parse("redis://:other@host/1", conf).options["password"] == "other"


@pytest.mark.parametrize(
    "url", ["unix:///run/redis.sock?db=2", "redis+socket:///run/redis.sock?virtual_host=2"]
)
def test_a_socket(url: str) -> None:
    found = parse(url)
    assert (found.path, found.db, found.nodes) == ("/run/redis.sock", 2, ())


def test_tls() -> None:
    found = parse("rediss://there?ssl_cert_reqs=none", tls={"ssl_ca_certs": "/ca.pem"})
    assert found.tls
    assert found.options["ssl_ca_certs"] == "/ca.pem"
    assert found.options["ssl_cert_reqs"] == "none"
    assert "ssl_ca_certs" not in parse("redis://there", tls={"ssl_ca_certs": "/ca.pem"}).options


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("sentinel://:pw@a:1,b:2,c/mymaster/4", {}),
        ("sentinel://:pw@a:1/4;sentinel://b:2/4;sentinel://c/4", {"master_name": "mymaster"}),
    ],
)
def test_sentinels(url: str, options: dict[str, Any]) -> None:
    found = parse(url, options=options)
    assert found.nodes == (("a", 1), ("b", 2), ("c", 26379))
    assert (found.service, found.db) == ("mymaster", 4)
    assert found.options["password"] == "pw"
    assert "password" not in found.sentinel_options


def test_a_cluster() -> None:
    found = parse("redisclusters://a,b:7", options={"redis_cluster_tag": "t"})
    assert (found.nodes, found.cluster, found.tls) == ((("a", 6379), ("b", 7)), True, True)
    assert found.tag == "t"


def test_the_same_place() -> None:
    here = parse("redis://a/1")
    assert here.same_place(parse("redis://:password@a:6379/1?client_name=x"))
    for other in ("redis://a/2", "redis://b/1", "redis://a/1?global_keyprefix=x", "unix:///a?db=1"):
        assert not here.same_place(parse(other))


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("redis://a/x", {}, "a database is a number, not 'x'"),
        ("redis://a:port/0", {}, "'a:port'"),
        ("redis://a/0?sockettimeout=1", {}, "unknown options.*sockettimeout.*socket_timeout"),
        ("redis://a/0", {"visibility_timeout": 3600}, "visibility_timeout"),
        ("redis://a/0?socket_timeout=soon", {}, "socket_timeout='soon'"),
        ("unix://", {}, "names no socket"),
        ("sentinel://a", {}, "names no service.*master_name"),
        ("rediscluster://a/1", {}, "only database 0"),
        ("rediscluster://a", {"redis_cluster_tag": "{t}"}, "no braces"),
    ],
)
def test_what_makes_no_sense(url: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=words):
        parse(url, options=options)


def test_errors_hide_the_password() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        parse("redis://me:secret@a/0?nonsense=1")
    assert "secret" not in str(caught.value)
