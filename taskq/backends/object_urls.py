"""From URLs and settings to object stores: Celery's forms, and fsspec's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

from taskq.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from taskq.settings import Settings


class ObjectPlace(NamedTuple):
    """Where objects are, as `taskq.backends.objects.ObjectsBackend` wants to know."""

    protocol: str
    root: str
    options: dict[str, Any]


def object_place(url: str, conf: Settings) -> ObjectPlace:
    """The place that a URL and the settings name.

    Raises:
        ImproperlyConfigured: they name none.
    """
    scheme, _, rest = url.partition("://")
    options = {
        name: value
        for name, value in conf.result_backend_transport_options.items()
        if name != "global_keyprefix"
    }
    match scheme:
        case "s3":
            return _s3(rest, conf, options)
        case "gs" | "gcs":
            return _google(rest, conf, options)
        case "azureblockblob":
            return _azure(rest, conf, options)
        case _:
            protocol = scheme.removeprefix("fsspec+")
            return ObjectPlace(protocol, f"{rest.rstrip('/')}/" if rest else "", options)


def _s3(rest: str, conf: Settings, options: dict[str, Any]) -> ObjectPlace:
    rest, in_url = _query(rest, {"endpoint_url", "region"})
    region = in_url.get("region") or conf.s3_region
    client = {"region_name": region, **(options.pop("client_kwargs", None) or {})}
    given = {
        "key": conf.s3_access_key_id,
        "secret": conf.s3_secret_access_key,
        "endpoint_url": in_url.get("endpoint_url") or conf.s3_endpoint_url,
        "client_kwargs": {name: value for name, value in client.items() if value},
    }
    root = _root(rest, conf.s3_bucket, conf.s3_base_path or "", "s3")
    return ObjectPlace("s3", root, {**_given(given), **options})


def _google(rest: str, conf: Settings, options: dict[str, Any]) -> ObjectPlace:
    rest, in_url = _query(rest, {"gcs_project"})
    project = in_url.get("gcs_project") or conf.gcs_project
    base = conf.gcs_base_path.strip("/")
    root = _root(rest, conf.gcs_bucket, f"{base}/" if base else "", "gcs")
    return ObjectPlace("gcs", root, {**_given({"project": project}), **options})


def _azure(rest: str, conf: Settings, options: dict[str, Any]) -> ObjectPlace:
    if not rest:
        raise ImproperlyConfigured(
            "result_backend='azureblockblob://' names no account: write the connection string "
            "behind it, or DefaultAzureCredential@https://account.blob.core.windows.net"
        )
    credential, at, account = rest.partition("@")
    if at and credential in {"DefaultAzureCredential", "ManagedIdentityCredential"}:
        name = account.removeprefix("https://").partition(".")[0]
        login: dict[str, Any] = {"account_name": name, "anon": False}
    else:
        login = {"connection_string": rest}
    root = f"{conf.azureblockblob_container_name}/{conf.azureblockblob_base_path}"
    return ObjectPlace("az", root, {**login, **options})


def _query(rest: str, known: set[str]) -> tuple[str, dict[str, str]]:
    """The URL's place, and the options behind its question mark."""
    place, _, query = rest.partition("?")
    options = dict(parse_qsl(query))
    if unknown := options.keys() - known:
        raise ImproperlyConfigured(
            f"result_backend has unknown options {sorted(unknown)} behind its ?: there are "
            f"{', '.join(sorted(known))}"
        )
    return place, options


def _root(rest: str, bucket: str | None, base: str, kind: str) -> str:
    """Bucket and beginning of names: the URL's, or the settings'."""
    name, _, path = rest.strip("/").partition("/")
    name = name or bucket or ""
    if not name:
        raise ImproperlyConfigured(
            f"result_backend names no bucket: write {kind}://bucket/path, or set {kind}_bucket"
        )
    return f"{name}/{f'{path}/' if path else base}"


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value}
