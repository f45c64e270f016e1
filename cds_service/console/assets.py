"""Scripts and styles, all of them shipped: an address changes with its content, a script states its digest."""

from __future__ import annotations

import base64
import hashlib
import tomllib
from functools import cache
from importlib import resources
from typing import Any

from flask import Flask, url_for

_YEAR = 31_536_000


def register(app: Flask) -> None:
    """`asset(name)` for templates, `integrity(name)` for the script of another project."""
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = _YEAR
    app.jinja_env.globals |= {"asset": _address, "integrity": integrity}


def others() -> dict[str, Any]:
    """The files of other projects: file -> name, version, licence, its file, source, integrity."""
    return tomllib.loads(resources.files(__package__).joinpath("assets.toml").read_text("utf-8"))


@cache
def integrity(name: str) -> str:
    """What the browser holds a file against before it runs it: the digest that was noted when it was taken over."""
    noted: str = others()[name]["integrity"]
    return noted


def digest(name: str) -> str:
    """That of the file as it is, in the form of `integrity`."""
    content = resources.files(__package__).joinpath("static", name).read_bytes()
    return "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()


@cache
def _address(name: str) -> str:
    short = hashlib.sha256(digest(name).encode()).hexdigest()[:12]
    return url_for("static", filename=name, v=short)
