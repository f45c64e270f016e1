"""Whatever a site can set, call, ask for or watch has its place in the documentation, and the other way round."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from cds_service import cli, settings
from cds_service.commands.completion import levels
from cds_service.knowledge import Knowledge
from cds_service.settings import PREFIX, Settings
from cds_service.web import instruments, openapi
from cds_service.web.app import create_app
from tests.docs.pages import PAGES, ROOT, shown

DOCS = ROOT / "docs"
ALERTS = ROOT / "examples" / "alerts.yaml"
WRITTEN = {path: path.read_text("utf-8") for path in PAGES}
NO_SETTINGS = {f"{PREFIX}TX"}
"""Names with the prefix that are no settings."""
OF_PROMETHEUS = {"_bucket", "_sum", "_count"}


def _metrics() -> set[str]:
    """As Prometheus shows them."""
    made = [each for each in vars(instruments).values() if isinstance(each, MetricWrapperBase)]
    return {f"{each._name}_total" if each._type == "counter" else str(each._name) for each in made}


def _named_metrics(text: str) -> set[str]:
    found = re.findall(r"\bketamine_cds_[a-z_]+", text)
    ends = re.compile(f"({'|'.join(OF_PROMETHEUS)})$")
    return {ends.sub("", name) for name in found}


def test_readme_counts_the_rules_that_there_are(knowledge: Knowledge) -> None:
    assert f"holds {len(knowledge.protocol.rules)} rules against it" in " ".join(WRITTEN[ROOT / "README.md"].split())


def test_every_setting_has_its_row() -> None:
    page = (DOCS / "settings.md").read_text("utf-8")
    assert [name for name, _, _ in settings.described() if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_names_no_setting_that_there_is_not(page: object) -> None:
    known = {name for name, _, _ in settings.described()} | NO_SETTINGS
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", WRITTEN[page])) <= known  # type: ignore[index]


def test_every_command_and_every_option_is_on_the_page_of_commands() -> None:
    page = (DOCS / "commands.md").read_text("utf-8")
    for level in levels(cli.parser()):
        assert not level.path or f"## {' '.join(level.path)}\n" in page, level.path
        section = page.partition(f"## {' '.join(level.path)}\n")[2].partition("\n## ")[0] if level.path else page
        missing = [name for name, _, _ in level.options if name not in ("-h", "--help", "--version")]
        assert [name for name in missing if f"`{name}" not in section] == [], level.path


def test_every_command_that_a_sentence_names_exists() -> None:
    commands = {level.path for level in levels(cli.parser())}
    for page, text in WRITTEN.items():
        for named in re.findall(r"`(?:\.venv/bin/)?ketamine-cds ([a-z][^`]*)`", text):
            words = shlex.split(named.replace("…", ""))
            known = max((path for path in commands if tuple(words[: len(path)]) == path), key=len)
            assert known, f"{page.name}: ketamine-cds {named}"
            (level,) = [each for each in levels(cli.parser()) if each.path == known]
            options = {word for word in words if word.startswith("--")}
            assert options <= {name for name, _, _ in level.options}, f"{page.name}: ketamine-cds {named}"


def test_every_rule_and_every_limit_has_its_place_in_the_protocol_page(knowledge: Knowledge) -> None:
    page = (DOCS / "protocol.md").read_text("utf-8")
    named = [*knowledge.protocol.rules, *knowledge.protocol.limits]
    assert [name for name in named if f'id="{name}"' not in page] == []


def test_every_route_has_its_row_and_says_what_it_answers(knowledge: Knowledge) -> None:
    rows = dict(re.findall(r"^\| `(\w+ [^`]+)` \| (.+?) \|", (DOCS / "routes.md").read_text("utf-8"), re.MULTILINE))
    app = create_app(Settings(sandbox="loopback"), knowledge)
    served = {
        f"{method} {openapi.path_of(rule)}"
        for rule in app.url_map.iter_rules()
        if rule.endpoint != "static"
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert set(rows) == served
    assert [route for route, says in rows.items() if len(says.split()) < 2] == []


def test_the_path_names_the_indispensable_keys(knowledge: Knowledge) -> None:
    path = (DOCS / "connect" / "index.md").read_text("utf-8")
    (named,) = re.findall(r"Five keys are indispensable: ([^.]+)\.", path)
    assert re.findall(r"`(\w+)`", named) == [query.key for query in knowledge.queries if query.indispensable]


def test_every_metric_has_its_row_and_no_page_names_another() -> None:
    page = (DOCS / "operations.md").read_text("utf-8")
    assert len(_metrics()) > 20
    assert [name for name in _metrics() if f"`{name}`" not in page] == []
    for path, text in WRITTEN.items():
        assert _named_metrics(text) <= _metrics(), path.name


def test_the_alerts_can_be_loaded_and_watch_metrics_that_there_are() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    for rule in group["rules"]:
        assert (
            {"alert", "expr", "labels", "annotations"}
            <= set(rule)
            <= {"alert", "expr", "for", "labels", "annotations"}
        )
        assert _named_metrics(rule["expr"]) <= _metrics(), rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")"), rule["alert"]
        assert _named_metrics(rule["expr"]) or rule["expr"].startswith("up{"), rule["alert"]
    assert group["rules"][0]["expr"] in (DOCS / "alerts.md").read_text("utf-8")


def test_every_shown_setting_can_be_read() -> None:
    known = {name for name, _, _ in settings.described()}
    for each in shown():
        assert set(each.settings) <= known, str(each)
