"""Whether an address lies below another: what may be asked of an EHR's FHIR server, and no more."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from cds_service import bounds


def _origin_and_path(url: str) -> tuple[str, str, int | None, str]:
    parts = urlsplit(url)
    port = {"https": 443, "http": 80}.get(parts.scheme) if parts.port is None else parts.port
    return parts.scheme.lower(), (parts.hostname or "").lower(), port, parts.path.rstrip("/") + "/"


def is_below(url: str, base: str) -> bool:
    """Whether `url` is `base` or lies below it: same scheme, host and port, no credentials, no way up.

    One that no server takes is not: `urlsplit` keeps the latest that it was asked for, however long they are.
    """
    if len(url) > bounds.ADDRESS:
        return False
    try:
        parts = urlsplit(url)
        # urlsplit passes over tabs and line ends; what sends the request does not.
        if "@" in parts.netloc or "\\" in url or any(char < " " for char in url) or not _stays_below(parts.path):
            return False
        *origin, path = _origin_and_path(url)
        *base_origin, base_path = _origin_and_path(base)
    except ValueError:
        return False
    return origin == base_origin and path.startswith(base_path)


def _stays_below(path: str) -> bool:
    """Whether no server finds a way up in a path. One that is encoded twice is refused: some decode it twice."""
    way = unquote(path)
    # `..;` is `..` to servers that know path parameters; what is no UTF-8 may be a point in a longer form.
    upwards = any(step.partition(";")[0] == ".." for step in way.split("/"))
    return not upwards and unquote(way) == way and not any(c < " " or c in "\\\ufffd" for c in way)
