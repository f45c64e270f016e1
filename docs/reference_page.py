"""docs/commands.md and docs/routes.md: every command with its options, and every route, from the code itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from flask import current_app

from cds_service.cli import parser
from cds_service.knowledge import load
from cds_service.settings import Settings
from cds_service.web import openapi
from cds_service.web.app import create_app

_BESIDE = {"HEAD", "OPTIONS"}


def commands() -> str:
    """docs/commands.md."""
    return (
        "# Commands\n\n`make run` installs `ketamine-cds` in `.venv/bin`. A command that was called wrongly, or "
        "finds a setting or a file that cannot be used, says so in one line and ends with 3. Each takes `--help`. "
        "This page is written by `make docs`.\n" + "".join(_commands(parser(), ()))
    )


def _commands(parser: argparse.ArgumentParser, path: tuple[str, ...]) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            says = {each.dest: each.help or "" for each in action._choices_actions}
            for name, below in action.choices.items():
                yield from _command(below, (*path, name), says[name])
                yield from _commands(below, (*path, name))


def _command(parser: argparse.ArgumentParser, path: tuple[str, ...], says: str) -> Iterator[str]:
    """A heading for each command, and a row for each of its arguments but --help."""
    name = " ".join(path)
    yield f"\n## {name}\n\n{says[:1].upper()}{says[1:]}.\n"
    taken = [
        each for each in parser._actions if not isinstance(each, argparse._SubParsersAction) and each.dest != "help"
    ]
    if taken:
        yield "\n| argument | meaning |\n|---|---|\n"
    for each in taken:
        value = str(
            each.metavar or (f"{{{', '.join(map(str, each.choices))}}}" if each.choices else each.dest.upper())
        )
        shown = ", ".join(each.option_strings) or value
        shown += f" {value}" if each.option_strings and each.nargs != 0 else ""
        yield f"| `{shown}` | {each.help or 'one of these'} |\n"


def routes() -> str:
    """docs/routes.md."""
    app = create_app(Settings(sandbox="loopback"), load())
    rows = []
    with app.app_context():
        described = openapi.description(current_app, "")["paths"]
        for rule in app.url_map.iter_rules():
            if rule.endpoint == "static":
                continue
            path = openapi.path_of(rule)
            for method in sorted((rule.methods or set()) - _BESIDE):
                operation = described[path].get(method.lower(), {})
                doc = (app.view_functions[rule.endpoint].__doc__ or "").strip().partition("\n")[0]
                says, signed = operation.get("summary") or doc, "yes" if "security" in operation else "no"
                rows.append(f"| `{method} {path}` | {says} | {signed} |\n")
    return (
        "# Routes\n\nEvery route that the service answers; `/sandbox/…` only where the sandbox EHR is on. `GET "
        "/openapi.json` describes bodies and answers for programs. A token is asked for where authentication is on. "
        "This page is written by `make docs`.\n\n| route | what it answers | token |\n|---|---|---|\n"
        + "".join(sorted(rows))
    )
