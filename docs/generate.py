"""Writes the pages of docs/ made from code and data: protocol, sign-off, coverage, settings, commands, routes …

`make docs` runs it; a test fails when a page is not what it would write.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from inspect import cleandoc
from pathlib import Path
from typing import Any

from cds_service import bounds, settings, sign_off
from cds_service.advise import advise
from cds_service.commands.check import orders_of, table
from cds_service.commands.examples import AS_OF, read
from cds_service.fhir import lenient
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import parse
from cds_service.knowledge import listed_or, load
from cds_service.protocol import schema
from cds_service.scenarios.schema import of_scenarios
from docs import (
    conformance,
    coverage_page,
    cql_page,
    performance_page,
    protocol_page,
    reference_page,
    sandbox_page,
    valuesets_page,
)
from supply import licences
from tests import sandbox_charts
from tests.scenarios.coverage import Covered

ROOT = Path(__file__).parents[1]
EXAMPLES = {
    "ward-infusion-over-the-limit": "An infusion on a ward, above the protocol maximum. The card carries the number, "
    "the arithmetic and the order at the limit, in the unit that was used.",
    "epic-shaped-order": "As Epic sends it: three doseAndRate entries (calculated, admin-amount, ordered), "
    "the Medication as a sibling entry, a local route code before the SNOMED one, an OperationOutcome for no "
    "allergies.",
    "pump-rate-in-ml-per-hour": "A rate in mL/h: 500 mg in 250 mL is 2 mg/mL; at 1 mg/mL it would have passed.",
    "depression-infusion": "The standard antidepressant infusion, 0.5 mg/kg over 40 minutes twice a week: no card, "
    "although it runs at 0.75 mg/kg/h. Rate limits are for continuous infusions.",
    "depression-infusion-too-fast": "The same dose over 10 minutes.",
    "bolus-and-infusion": "A push and an infusion in one order. The bolus is judged, the infusion passes, and the "
    "two are not duplicates.",
    "weight-in-pounds-entered-as-kilograms": "154 after 70 kg ten days ago: the weight is doubted, the dose is "
    "judged on both, and the verdict flips.",
    "no-weight": "No weight: the dose is bounded between 40 and 150 kg, and nothing is assumed.",
    "uncontrolled-hypertension": "192/104 mmHg and heart failure; the dose itself is fine.",
    "drug-by-name-only": "No code, only the words of the order.",
    "tenfold-pump-slip": "25 in place of 2.5 mL/h.",
    "esketamine-infusion": "Intravenous esketamine has limits of its own.",
    "order-select-without-a-dose": "At order-select the dose may still be missing: no complaint.",
    "running-infusion-dizziness": "A chart is opened (patient-view): what runs is judged, at the rate of the newest "
    "administration, and the order behind it is changed.",
}


def examples() -> str:
    """docs/examples.md."""
    knowledge = load()
    parts = [
        "# Examples\n",
        "Each is a whole CDS Hooks request in `examples/`, shown with the cards it gets. Their dates are of "
        f"{AS_OF:%Y-%m-%d}; `ketamine-cds example FILE` prints one with its dates moved to now. This page is written "
        "by `make docs`.\n",
    ]
    for name, says in EXAMPLES.items():
        file = f"examples/{name}.json"
        body = read(str(ROOT / file))
        hook = str(body["hook"])
        answer = advise(parse(lenient.encode(body), hook), hook == "order-sign", knowledge, NoSource(), AS_OF)
        orders = "\n".join(f"    {order}" for order in orders_of(body))
        cards = "\n".join(f"    {line}".rstrip() for line in table(answer, listed_or(knowledge.families)).split("\n"))
        parts.append(f"## {name}\n\n{says}\n\n`{file}` ({hook}):\n\n{orders}\n\nCards:\n\n{cards}\n")
    return "\n".join(parts)


def settings_page() -> str:
    """docs/settings.md."""
    rows = "\n".join(f"| `{name}` | {default} | {says} |" for name, default, says in settings.described())
    return (
        "# Settings\n\nEnvironment variables. An unknown one that starts with `KETAMINE_CDS_`, or one that cannot be "
        "read, stops the start with a message that names it.\n\n| variable | default | meaning |\n|---|---|---|\n"
        f"{rows}\n"
    )


TESTS_OF_BOUNDS = {
    "DIGITS": "tests/test_bounds.py::test_a_figure_has_at_most_so_many_digits_and_places",
    "CHARACTERS": "tests/test_bounds.py::test_a_name_is_read_up_to_its_bound",
    "PROSE": "tests/test_bounds.py::test_a_string_is_read_up_to_its_bound",
    "MEMBERS": "tests/test_bounds.py::test_a_list_is_read_up_to_its_bound",
    "STEPS": "tests/test_bounds.py::test_instructions_are_read_up_to_their_bound",
    "VALUES": "tests/test_bounds_of_nesting.py::test_json_is_decoded_up_to_so_many_values",
    "BEGINNING": "tests/test_bounds_of_nesting.py::test_of_a_request_with_too_many_values_the_beginning_is_read",
    "RESOURCE_VALUES": "tests/test_bounds_of_nesting.py::test_a_resource_is_read_up_to_so_many_values",
    "KEYS": "tests/test_bounds.py::test_keys_of_the_prefetch_are_read_up_to_their_bound",
    "ENTRIES": "tests/test_bounds.py::test_a_page_has_at_most_so_many_entries",
    "DRAFTS": "tests/test_bounds.py::test_drafts_are_read_up_to_their_bound_and_ketamine_may_be_among_the_rest",
    "NESTING": "tests/test_bounds_of_nesting.py::test_of_json_that_is_nested_too_deep_so_many_levels_are_kept",
    "COPY": "tests/test_bounds_of_answers.py::test_an_order_is_sent_back_changed_up_to_so_many_bytes",
    "WEIGHTS": "tests/test_bounds.py::test_so_many_doubtful_weights_are_tried_and_with_one_more_none_is_believed",
    "PARTS": "tests/test_bounds.py::test_so_many_doses_of_a_drug_are_added_up_and_with_one_more_the_sum_is_not_told",
    "SHOWN": "tests/test_bounds_of_answers.py::test_a_text_is_shown_up_to_so_many_characters_with_its_end",
    "REFERENCE": "tests/test_bounds_of_answers.py::test_an_id_that_no_patient_has_is_missing",
    "LINES": "tests/test_bounds_of_answers.py::test_the_extension_gives_so_many_reasons_of_one_rule",
    "WORDS": "tests/test_bounds_of_answers.py::test_a_detail_at_the_bound_is_whole_and_one_word_more_is_left_out",
    "DETAIL": "tests/test_bounds_of_answers.py::"
    "test_a_detail_has_so_many_words_and_characters_and_names_what_did_not_fit",
    "MEDICATIONS": "tests/test_bounds.py::test_so_many_medicines_of_a_chart_are_fetched_and_the_rest_are_not_known",
    "REFERENCES": "tests/fhir/test_costs.py::test_of_many_references_the_first_are_read_each_once",
    "HEADER": "tests/web/test_headers.py::test_a_header_of_the_bound_is_read_and_one_character_more_is_431",
    "ADDRESS": "tests/fhir/test_client_addresses.py::"
    "test_an_address_that_no_server_takes_is_not_below_the_base_and_is_not_remembered",
    "FEEDBACK": "tests/hooks/test_feedback.py::test_one_entry_more_than_the_bound_is_too_large",
    "FEEDBACK_VALUES": "tests/hooks/test_feedback.py::test_feedback_of_more_values_than_the_bound_is_too_large",
    "LAUNCHES": "tests/console/test_bedside.py::"
    "test_so_many_sign_ins_are_waited_for_and_with_one_more_the_oldest_is_given_up",
    "VISITS": "tests/console/test_bedside.py::test_so_many_patients_are_open_and_with_one_more_the_oldest_is_closed",
    "CHARTS": "tests/console/test_bedside.py::"
    "test_so_many_charts_are_remembered_and_with_one_more_the_oldest_is_read_anew",
    "FILE": "tests/test_site_file.py::test_a_file_is_read_up_to_so_many_bytes",
    "LEVELS": "tests/test_site_file.py::test_yaml_is_read_up_to_so_many_levels",
}


def bounds_page() -> str:
    """docs/bounds.md."""
    rows = "\n".join(
        f"| {each.value:,} | {each.of} | {each.why} | {each.above} | `{TESTS_OF_BOUNDS[each.name]}` |"
        for each in bounds.TABLE
    )
    return (
        "# Bounds\n\nWhat one request or file may hold, and the console keep, from `cds_service/bounds.py`; the test "
        "of each row holds it at the bound and one above it.\n\n"
        "A body of more bytes than `KETAMINE_CDS_MAX_BODY_BYTES` is refused before it is read. What else of a "
        "request is over a bound is left out and said on a card. An order is then judged as far as it is read, and "
        "no suggestion changes it. A list of the chart that was cut is not complete: nothing is absent from it for "
        "certain. Within the bounds the work grows no faster than the request (`tests/properties/test_growth.py`). "
        "How many orders and steps are added up is a limit of the protocol (`orders-at-once`, `steps-at-once`).\n\n"
        f"| bound | of what | why so wide | what is over it | test |\n|---|---|---|---|---|\n{rows}\n"
    )


def protocol() -> str:
    """docs/protocol.md."""
    return protocol_page.protocol(load(), AS_OF.date())


def signing() -> str:
    """docs/signing.md."""
    knowledge = load()
    return sign_off.page(knowledge, knowledge.protocol, AS_OF.date(), origin=SIGNED)


def second_protocol() -> str:
    """The README of the example of a second protocol."""
    knowledge = load(protocols=[str(ROOT / SECOND)])
    return protocol_page.second(knowledge, knowledge.parts[1].protocol, AS_OF.date())


def coverage() -> str:
    """docs/coverage.md."""
    return coverage_page.coverage(Covered(load()))


def value_sets() -> str:
    """docs/valuesets.md."""
    return valuesets_page.valuesets(load())


def cql() -> str:
    return cql_page.page(load())


def rule_schema() -> str:
    """cards/rule.schema.json, for editors."""
    return _as_json(schema.of_rule())


def _as_json(made: dict[str, Any]) -> str:
    return json.dumps(_said_alike(made), indent=1, ensure_ascii=False) + "\n"


def _said_alike(made: Any) -> Any:
    """With descriptions as every Python has them: from 3.13 on a docstring has no indentation."""
    if isinstance(made, list):
        return [_said_alike(each) for each in made]
    if not isinstance(made, dict):
        return made
    return {
        key: cleandoc(each) if key == "description" and isinstance(each, str) else _said_alike(each)
        for key, each in made.items()
    }


def prefetch() -> str:
    """docs/connect/prefetch.md: what the EHR is asked for, and the scopes that each needs."""
    rows = []
    for query in load().queries:
        asked = re.sub(r"code=[^&]*", f"code=… ({len(query.codes)} codes)", query.template)
        if_missing = "a warning with each order" if query.indispensable else "a line of information"
        rows.append(
            f"| `{query.key}` | {query.says} | `{asked}` | `patient/{query.type}.read` or `patient/{query.type}.rs` "
            f"| {'**yes**' if query.indispensable else 'no'} | {if_missing} |"
        )
    return (
        "# Prefetch keys and scopes\n\n`GET /cds-services` lists the templates in full, with their codes; an analyst "
        "who sets up prefetch by hand copies them from there. What is not sent is fetched with the same search, if "
        "the client's entry names its FHIR server. Scopes are written as SMART App Launch 1 and 2 have them. Where "
        "medicines are references, `patient/Medication.read` is needed too.\n\nThis page is written by `make docs`.\n"
        "\n| key | what | read or search | scope | indispensable | if it does not come |\n|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


SECOND = "examples/protocols/lidocaine"
SIGNED = (
    "Written by `make docs` from the data of the service; `ketamine-cds protocol sign-off --overlay FILE` prints it "
    "for a site with its own changes."
)
PAGES = {
    "cards/rule.schema.json": rule_schema,
    "cards/overlay.schema.json": lambda: _as_json(schema.of_overlay()),
    "cards/scenarios.schema.json": lambda: _as_json(of_scenarios()),
    "docs/conformance.md": conformance.page,
    "docs/examples.md": examples,
    "docs/settings.md": settings_page,
    "docs/bounds.md": bounds_page,
    "docs/protocol.md": protocol,
    "docs/signing.md": signing,
    f"{SECOND}/README.md": second_protocol,
    coverage_page.PAGE: coverage,
    valuesets_page.PAGE: value_sets,
    cql_page.PAGE: cql,
    performance_page.PAGE: performance_page.page,
    "docs/licences.md": licences.page,
    "docs/connect/prefetch.md": prefetch,
    "docs/commands.md": reference_page.commands,
    "docs/routes.md": reference_page.routes,
}


def main() -> None:
    for name, page in PAGES.items():
        (ROOT / name).write_text(page(), "utf-8")
        print(f"{name} written {datetime.now(UTC):%H:%M}")
    (ROOT / sandbox_page.PAGE).write_text(sandbox_page.review(load(), sandbox_charts.patients()), "utf-8")
    print(f"{sandbox_page.PAGE} written")


if __name__ == "__main__":
    main()
