"""The page that a pharmacist signs holds every limit with its reason, and what follows from the data alone."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from cds_service import cli, sign_off, signature
from cds_service.knowledge import Knowledge, load
from cds_service.protocol.limits import as_written
from cds_service.protocol.model import SEVERITIES, Protocol

DAY = date(2026, 11, 28)
ROOT = Path(__file__).parents[2]
OVERLAY = str(ROOT / "examples" / "overlay.yaml")
LIDOCAINE = str(ROOT / "examples" / "protocols" / "lidocaine")


@pytest.fixture(scope="module")
def page(knowledge: Knowledge) -> str:
    return sign_off.page(knowledge, knowledge.protocol, DAY)


@pytest.fixture(scope="module")
def of_a_site() -> Knowledge:
    """With the example of an overlay, and the example of a second protocol."""
    return load(overlay=OVERLAY, protocols=[LIDOCAINE])


def rows(page: str) -> dict[str, list[str]]:
    """Limit -> the cells of its row."""
    found = re.findall(r'^\| <a id="[^"]+"></a>`([^`]+)` (.*) \|$', page, re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in found}


def group_of(page: str, limit: str) -> str:
    """The heading under which it stands."""
    return re.findall(r"^## (.+)$", page.split(f'<a id="{limit}">')[0], re.MULTILINE)[-1]


def changed(protocol: Protocol, name: str, **fields: object) -> Protocol:
    return replace(protocol, limits={**protocol.limits, name: replace(protocol.limits[name], **fields)})


def test_every_choice_of_this_protocol_says_why_it_is_this_value(of_a_site: Knowledge) -> None:
    for part in of_a_site.parts:
        silent = [each.id for each in part.protocol.limits.values() if each.status == "design" and not each.note]
        assert silent == [], part.protocol.id


def test_the_page_holds_every_limit_once_with_its_value(page: str, knowledge: Knowledge) -> None:
    found = rows(page)
    assert found.keys() == knowledge.protocol.limits.keys()
    assert len(re.findall(r'^\| <a id="[^"]+"></a>`', page, re.MULTILINE)) == len(found)
    for limit in knowledge.protocol.limits.values():
        assert as_written(limit, DAY) in found[limit.id][1], limit.id
        assert limit.status in found[limit.id][4], limit.id


def test_every_source_of_a_limit_stands_on_the_page_with_where_it_was_read(page: str, knowledge: Knowledge) -> None:
    protocol = knowledge.protocol
    for name in {source for limit in protocol.limits.values() for source in limit.sources}:
        assert f'<a id="{name}"></a>{name} |' in page, name
        if name in protocol.evidence and protocol.evidence[name].url:
            assert f"[{name}]({protocol.evidence[name].url})" in page, name


def test_what_is_critical_is_read_first(page: str, knowledge: Knowledge) -> None:
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    groups = [title for title, _ in sign_off.GROUPS]
    assert [title for title in headings if title in groups] == groups
    for rule in knowledge.protocol.rules.values():
        for tier in rule.tiers:
            for name in tier.shown:
                at_least = groups.index(group_of(page, name))
                assert at_least <= SEVERITIES.index(tier.severity), f"{rule.id} {tier.name} {name}"


def test_a_limit_of_a_drug_stands_right_after_the_one_whose_place_it_takes(page: str, knowledge: Knowledge) -> None:
    order = list(rows(page))
    for limit in knowledge.protocol.limits.values():
        if limit.stands_for is not None:
            assert order[order.index(limit.id) - 1] == limit.stands_for, limit.id


def test_the_choices_that_a_site_owns_are_marked_and_counted(page: str, knowledge: Knowledge) -> None:
    design = [limit for limit in knowledge.protocol.limits.values() if limit.status == "design"]
    assert f"{len(design)} of the {len(knowledge.protocol.limits)} limits are design" in page
    assert sum(cells[4] == "**design**" for cells in rows(page).values()) == len(design)
    assert sum(map(int, re.findall(r"limits, (\d+) of them design", page))) == len(design)


def test_a_design_limit_without_a_reason_is_pointed_out(knowledge: Knowledge) -> None:
    silent = changed(knowledge.protocol, "bolus-minutes", note=None)
    assert rows(sign_off.page(knowledge, silent, DAY))["bolus-minutes"][5] == "**no reason given**"


def test_what_changed_since_the_last_release_is_told_with_the_reason(page: str, knowledge: Knowledge) -> None:
    was = sign_off.released(knowledge.protocol)
    assert was is not None
    assert was.limits["esketamine-label-max-iv"] == "2.25 mg/kg, design"
    assert (
        "| [`esketamine-label-max-iv`](#esketamine-label-max-iv) | 2.25 mg/kg, design | 1 mg/kg, verified | "
        "Half of the racemic maximum is no labelled dose. |"
    ) in page
    assert "`uterine-emergency` (critical)" in page.split("**New rules**")[1].split("\n")[0]
    assert rows(page)["status-rate-warn"][2] == "new"
    assert rows(page)["label-max-iv"][2] == "–"


def test_a_value_of_a_later_day_is_told_beside_the_one_before(knowledge: Knowledge) -> None:
    limit = knowledge.protocol.limits["bp-warn-systolic"]
    (value,) = limit.values.values()
    dated = changed(knowledge.protocol, limit.id, values={**limit.values, DAY: value + 10})
    assert rows(sign_off.page(knowledge, dated, DAY))[limit.id][1:3] == ["150 mm[Hg]", f"140 mm[Hg] until {DAY}"]
    later = changed(knowledge.protocol, limit.id, values={**limit.values, date(2027, 1, 1): value + 10})
    assert rows(sign_off.page(knowledge, later, DAY))[limit.id][1] == "140 mm[Hg]; from 2027-01-01: 150 mm[Hg]"


def test_a_release_writes_what_the_next_one_is_compared_with(knowledge: Knowledge, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "released.yaml").write_text(sign_off.release(knowledge.protocol, "0.2.0", DAY), "utf-8")
    released = sign_off.released(replace(knowledge.protocol, folders=(str(tmp_path / "rules"),)))
    assert released is not None
    assert released.version == "0.2.0"
    assert released.limits["bolus-minutes"] == "5 min, design"
    assert released.limits.keys() == knowledge.protocol.limits.keys()
    assert released.rules["oxygen-low"] == "warning"


def test_a_value_set_without_codes_leaves_a_rule_that_can_never_be_clear(knowledge: Knowledge) -> None:
    never = [rule.id for rule in knowledge.protocol.rules.values() if sign_off.never_clear(rule, knowledge.valuesets)]
    assert never == ["liver-severe", "delirium-cognitive", "liver-moderate-labs"]


def test_codes_of_a_site_make_it_clear_again(knowledge: Knowledge, tmp_path: Path) -> None:
    shipped = ROOT / "cards" / "common" / "valuesets" / "obs_delirium_screen.json"
    filled = msgspec.json.decode(shipped.read_bytes())
    concept = [{"system": "http://loinc.org", "concept": [{"code": "99999-9", "display": "Screen of the house"}]}]
    filled["compose"] = {"include": concept}
    del filled["extension"]
    (tmp_path / shipped.name).write_bytes(msgspec.json.encode(filled))
    site = load(site_valuesets=str(tmp_path))
    assert not sign_off.never_clear(site.protocol.rules["delirium-cognitive"], site.valuesets)
    assert signature.digest(site) != signature.digest(knowledge)


def test_the_digest_is_that_of_the_data_wherever_it_lies(knowledge: Knowledge) -> None:
    told = signature.digest(knowledge)
    assert signature.digest(load()) == told
    other = changed(knowledge.protocol, "rate-warn", note="Another reason.")
    assert signature.digest_of(other, knowledge) != told


def test_the_page_of_a_site_says_who_changed_what_and_why(
    of_a_site: Knowledge, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["protocol", "sign-off", "--overlay", OVERLAY]) == 0
    said = capsys.readouterr().out
    assert "ketamine 2026.11 with the overlay of Example Hospital" in said
    assert "changed by P&T committee on 2026-11-20: no children are treated here" in said
    value, was, _, status, why, _ = rows(said)["bp-critical-diastolic"][1:]
    assert (value, was, status) == ("110 mm[Hg]", "100 mm[Hg], verified", "**site**")
    assert why.endswith("**Changed by P&T committee on 2026-11-20:** 180/110 is the house's figure")
    told = signature.digest(of_a_site)
    assert told != signature.digest(load(protocols=[LIDOCAINE]))


def test_a_rule_that_is_off_asks_for_no_signature_of_its_limits(of_a_site: Knowledge) -> None:
    page = sign_off.page(of_a_site, of_a_site.protocol, DAY)
    assert "`duration-missing`" not in rows(page)["stop-offered"][-1]


def test_another_protocol_has_a_page_of_its_own(of_a_site: Knowledge) -> None:
    second = of_a_site.parts[1].protocol
    page = sign_off.page(of_a_site, second, DAY)
    assert page.startswith(f"# Sign-off: {second.title} {second.version}\n")
    assert rows(page).keys() == second.limits.keys()
    assert "This protocol was not released before" in page


def test_what_was_not_taken_from_the_sources_stands_there_with_its_reason(page: str, knowledge: Knowledge) -> None:
    for name, demand in sign_off.demands(knowledge.protocol).items():
        assert f"| {demand.asks} |" in page, name
        assert demand.why_not is None or demand.why_not in page, name
    assert {"stop-at-48-hours", "taper-from-three-weeks", "older-adult-start", "fast-session"} <= sign_off.demands(
        knowledge.protocol
    ).keys()


def test_every_rule_that_may_interrupt_has_its_place_among_the_hazards(knowledge: Knowledge) -> None:
    hazards = knowledge.protocol.hazards
    assert len(hazards) == len(set(hazards))
    missing = [
        rule.id
        for rule in knowledge.protocol.rules.values()
        if rule.id not in hazards
        and rule.category not in hazards
        and any(tier.severity != "info" for tier in rule.tiers)
    ]
    assert missing == []


def test_a_limit_that_only_words_name_is_signed_too(knowledge: Knowledge) -> None:
    spoken = replace(knowledge.protocol.limits["bolus-minutes"], id="spoken")
    more = replace(knowledge.protocol, limits={**knowledge.protocol.limits, "spoken": spoken})
    assert rows(sign_off.page(knowledge, more, DAY))["spoken"][-1] == "words of cards"
