"""Select and gather: which past orders a policy judges, and all that stands in the export about their patients.

DuckDB reads the files; which medicine an order is of, the service's own recogniser says, once for each medicine that
is written in any way of its own. Nothing is lost in silence: a line that cannot be read, an order without a patient
or without a medicine, each is counted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cds_service.fhir import lenient
from cds_service.fhir.datatypes import Reference
from cds_service.fhir.medication import Resolve, described
from cds_service.fhir.resources import Medication, MedicationRequest, Resource
from cds_service.knowledge import Knowledge
from cds_service.retrospect.asking import UNREADABLE
from cds_service.retrospect.engines import quoted, quoted_list
from cds_service.retrospect.exports import COLUMN, LONGEST_LINE, REQUESTS, Export
from cds_service.terminology.identity import identify

ORDER = "judged order"
"""The kind of a record that is a MedicationRequest to be judged; it stands in the chart as one, too."""
PATIENTS_A_PART = 500
MOST_PARTS = 1024
_BATCH = 2_000
_NO_ORDER = ("proposal", "plan", "option", "filler-order", "instance-order")
"""Intents of what nobody signs, or what only repeats what somebody signed."""
_NEVER = ("entered-in-error", "draft")
_WHOSE = "subject.reference patient.reference"
"""Where a record names its patient."""


@dataclass
class Found:
    """What the selection came to, in numbers."""

    requests: int = 0
    """MedicationRequests that were read."""
    orders: int = 0
    """Those to be judged."""
    patients: int = 0
    parts: int = 1
    left_out: dict[str, int] = field(default_factory=dict)
    """Why orders are not judged, with how many."""
    unreadable: dict[str, int] = field(default_factory=dict)
    """Lines that could not be read, by the type of their file."""


@dataclass
class Gathering:
    """One selection and gathering. `work` is where the parts are written."""

    connection: Any
    export: Export
    knowledge: Knowledge
    work: Path
    since: str | None = None
    until: str | None = None
    found: Found = field(default_factory=Found)

    def select(self) -> Found:
        """Find the orders that are to be judged; the tables `chosen` and `patient` hold them."""
        self._macros()
        self._medications()
        self._requests()
        self._choose()
        found = self.found
        found.patients = self._one("SELECT count(*) FROM patient")
        lines = self._one(f"SELECT count(*) FROM ({self._lines(REQUESTS)})") if self.export.files.get(REQUESTS) else 0
        found.orders += lines
        found.parts = max(1, min(MOST_PARTS, (found.patients + lines) // PATIENTS_A_PART))
        return found

    def gather(self, kind: str) -> None:
        """Write the records of a type of the patients in `patient`, in parts. A part is whole or not there."""
        target = self._charts(kind)
        if target.exists():
            return
        made = target.with_suffix(".part")
        shutil.rmtree(made, ignore_errors=True)
        made.parent.mkdir(parents=True, exist_ok=True)
        self.connection.execute(
            f"COPY ({self._records(kind)}) TO {quoted(made)} "
            "(FORMAT parquet, PARTITION_BY (part), COMPRESSION zstd, ROW_GROUP_SIZE 4096)"
        )
        made.mkdir(exist_ok=True)  # nothing was written
        made.rename(target)

    def _charts(self, kind: str) -> Path:
        """Where the records of a type lie: its parts are folders in it, by names that Spark reads, too."""
        return self.work / "charts" / f"type={kind.replace(' ', '-')}"

    def kinds(self) -> list[str]:
        """What is gathered, the largest first."""
        types = {query.type for query in self.knowledge.queries} & self.export.types
        kinds = sorted(types, key=lambda kind: -sum(file.stat().st_size for file in self.export.of(kind)))
        if self.export.files.get(REQUESTS):
            kinds.append(REQUESTS)
        return [*kinds, *(["Medication"] if self.export.of("Medication") and "MedicationRequest" in types else [])]

    def places(self) -> dict[str, str]:
        """The names of the Locations of the export, by id."""
        if not self.export.files.get("Location"):
            return {}
        rows = self._rows(
            f"SELECT id, name FROM ({self._lines('Location', id='id', name='name')}) WHERE name IS NOT NULL"
        )
        return {str(name): str(says) for name, says in rows if name}

    def unreadable(self) -> dict[str, int]:
        """Lines that could not be read, by type."""
        files = list((self.work / "charts").rglob("*.parquet"))
        if not files:
            return {}
        rows = self._rows(
            f"SELECT kind, count(*) FROM read_parquet({quoted_list(files)}, union_by_name = true) "
            f"WHERE starts_with(kind, '{UNREADABLE}') GROUP BY kind ORDER BY kind"
        )
        return {kind.removeprefix(UNREADABLE): count for kind, count in rows}

    # Reading ------------------------------------------------------------------------------------------------------

    def _macros(self) -> None:
        """`bare(reference)` is the id in a reference, as the service reads it."""
        self.connection.execute(
            "CREATE OR REPLACE MACRO bare(r) AS "
            r"nullif(regexp_extract(split_part(split_part(trim(r), '/_history/', 1), '|', 1), '([^/:]+)/*$', 1), '')"
        )

    def _lines(self, *kinds: str, **paths: str) -> str:
        """A query for every `line` of the files of these types, and what stands there at these paths, as text.

        `is_read`: whether it is JSON, which is parsed once for all paths. Each path may be several: the first that
        there is.
        """
        files = self.export.files.get(REQUESTS, ()) if kinds == (REQUESTS,) else self.export.of(*kinds)
        text, parquet = ([f for f in files if (f.suffix == ".parquet") is packed] for packed in (False, True))
        parts = []
        if text:
            parts.append(
                f"SELECT line FROM read_csv({quoted_list(text)}, columns = {{'line': 'VARCHAR'}}, header = false, "
                "auto_detect = false, delim = '\x01', quote = '', escape = '', strict_mode = false, "
                f"max_line_size = {LONGEST_LINE}, buffer_size = {2 * LONGEST_LINE}, "
                "new_line = '\\n', encoding = 'utf-8')"
            )
        if parquet:
            parts.append(f"SELECT {COLUMN} AS line FROM read_parquet({quoted_list(parquet)})")
        union = " UNION ALL ".join(parts) or "SELECT NULL AS line WHERE false"
        asked = ["resourceType", *(path for each in paths.values() for path in each.split())]
        at = {path: f"said[{number}]" for number, path in enumerate(asked, 1)}
        named = [
            f"coalesce({', '.join(at[p] for p in each.split())}, NULL) AS {name}" for name, each in paths.items()
        ]
        return (
            f"SELECT {', '.join(['line', 'said IS NOT NULL AS is_read', 'said[1] AS resource', *named])} FROM ("
            "SELECT line, CASE WHEN line LIKE '{%' THEN "
            f"TRY(json_extract_string(line, {quoted_list(f'$.{path}' for path in asked)})) END AS said "
            f"FROM ({union}) WHERE line LIKE '{{%' OR trim(line) <> '')"
        )

    def _of(self, kind: str, **paths: str) -> str:
        """As `_lines`, of one type alone; a line that cannot be read stays."""
        return f"SELECT * FROM ({self._lines(kind, **paths)}) WHERE NOT is_read OR resource = {quoted(kind)}"

    def _rows(self, query: str, *given: Any) -> Iterator[tuple[Any, ...]]:
        cursor = self.connection.cursor().execute(query, list(given))
        while rows := cursor.fetchmany(_BATCH):
            yield from rows

    def _one(self, query: str) -> Any:
        return self.connection.execute(query).fetchone()[0]

    # Which orders -------------------------------------------------------------------------------------------------

    def _medications(self) -> None:
        """`medication`: each Medication of the export; `judged_medication`: the ids of those of a judged drug."""
        self.connection.execute(
            "CREATE OR REPLACE TABLE medication AS SELECT id, "
            'json_merge_patch(line, \'{"id":null,"meta":null,"text":null}\') AS says '
            f"FROM ({self._of('Medication', id='id')}) WHERE is_read"
            if self.export.of("Medication")
            else "CREATE OR REPLACE TABLE medication (id VARCHAR, says JSON)"
        )
        self.connection.execute("CREATE OR REPLACE TABLE judged_medication (says VARCHAR)")
        resolve = self._resolve()
        judged = [
            (says,)
            for (says,) in self._rows("SELECT DISTINCT says::VARCHAR FROM medication")
            if self._is_judged(_of_medication(says), resolve)
        ]
        self._insert("judged_medication", judged)

    def _resolve(self) -> Resolve:
        """What ingredients refer to: the few Medications and Substances that stand in another Medication."""
        rows = self._rows(
            "SELECT id, says::VARCHAR FROM medication WHERE id IN (SELECT bare(named) FROM (SELECT "
            "unnest(json_extract_string(says, '$.ingredient[*].itemReference.reference')) AS named FROM medication))"
        )
        known = {str(name): lenient.decode(says.encode()).resource for name, says in rows}

        def resolve(reference: Reference | None) -> Resource | None:
            name = (reference.reference or "").rpartition("/")[2] if reference else ""
            return known.get(name)

        return resolve

    def _requests(self) -> None:
        """`request`: each MedicationRequest, read anew each time. `wording`: every way in which one is written, in
        the few words that tell whether it is to be judged, with the number of orders."""
        reference = "coalesce(reference, reference_of_r5)"
        lines = self._of(
            "MedicationRequest",
            id="id",
            whose=_WHOSE,
            authored="authoredOn dateWritten",
            status="status",
            intent="intent",
            reference="medicationReference.reference",
            reference_of_r5="medication.reference.reference",
            display="medicationReference.display",
        )
        self.connection.execute(
            f"""CREATE OR REPLACE VIEW request AS
            SELECT hash(line) AS name, id, bare(whose) AS patient, authored, status, intent,
              CASE WHEN {reference} NOT LIKE '#%' THEN bare({reference}) END AS medication,
              json_object('resourceType', 'MedicationRequest',
                'medicationCodeableConcept', json->'$.medicationCodeableConcept',
                'medication', json->'$.medication',
                'contained', CASE WHEN {reference} LIKE '#%' THEN json->'$.contained' END,
                'medicationReference', CASE WHEN {reference} LIKE '#%' THEN json->'$.medicationReference'
                  ELSE json_object('display', display) END)::VARCHAR AS says
            FROM (SELECT *, CASE WHEN is_read THEN line::JSON END AS json FROM ({lines})) WHERE is_read"""
        )
        self.connection.execute(
            "CREATE OR REPLACE TABLE wording AS SELECT says, count(*) AS orders, "
            "count(*) FILTER (medication NOT IN (SELECT id FROM medication WHERE id IS NOT NULL)) AS unreferenced "
            "FROM request GROUP BY says"
        )

    def _choose(self) -> None:
        """`chosen`: the orders to be judged; `patient`: whose they are."""
        self.connection.execute("CREATE OR REPLACE TABLE judged_words (says VARCHAR)")
        words = (says for (says,) in self._rows("SELECT says FROM wording"))
        judged = [(says,) for says in words if self._is_judged(lenient.decode(says.encode()).resource, _nothing)]
        self._insert("judged_words", judged)
        self.connection.execute(
            f"""CREATE OR REPLACE TABLE candidate AS
            SELECT name, id, patient, CASE
              WHEN coalesce(status, '') IN {_NEVER} THEN 'entered in error, or never signed'
              WHEN coalesce(intent, '') IN {_NO_ORDER} THEN 'no order that somebody signs (its intent)'
              WHEN patient IS NULL THEN 'says no patient'
              WHEN {self._outside()} THEN 'outside the time that was asked for'
            END AS left_out
            FROM request WHERE says IN (FROM judged_words) OR medication IN
              (SELECT id FROM medication WHERE says::VARCHAR IN (FROM judged_medication))"""
        )
        self.connection.execute(
            "CREATE OR REPLACE TABLE chosen AS "
            "SELECT DISTINCT ON (patient, coalesce(id, name::VARCHAR)) name, patient FROM candidate "
            "WHERE left_out IS NULL ORDER BY patient, id, name"
        )
        self.connection.execute("CREATE OR REPLACE TABLE patient AS SELECT DISTINCT patient FROM chosen")
        found = self.found
        found.requests, found.orders = (
            self._one("SELECT coalesce(sum(orders), 0)::BIGINT FROM wording"),
            self._one("SELECT count(*) FROM chosen"),
        )
        found.left_out = dict(
            self._rows("SELECT left_out, count(*) FROM candidate WHERE left_out IS NOT NULL GROUP BY 1 ORDER BY 1")
        )
        twice = self._one("SELECT count(*) FROM candidate WHERE left_out IS NULL") - found.orders
        unknown = self._one(
            "SELECT coalesce(sum(unreferenced), 0)::BIGINT FROM wording WHERE json_extract_string(says, "
            "'$.medicationReference.display') IS NULL AND json_extract(says, '$.medicationCodeableConcept') = 'null'"
        )
        for why, count in (
            ("stands twice in the export", twice),
            ("its medication is only referenced, and not in the export", unknown),
        ):
            if count:
                found.left_out[why] = count

    def _outside(self) -> str:
        """By the day alone, as it is written; of a month or a year nothing can be told so."""
        day = "substr(authored, 1, 10)"
        tests = [f"{day} < {quoted(self.since)}"] if self.since else []
        tests += [f"{day} > {quoted(self.until)}"] if self.until else []
        return f"length({day}) = 10 AND ({' OR '.join(tests) or 'false'})"

    def _is_judged(self, resource: Resource | None, resolve: Resolve) -> bool:
        if not isinstance(resource, MedicationRequest):
            return False
        says = described(resource, resolve)
        return identify(says.all_codings, says.all_texts, self.knowledge.valuesets) is not None

    def _insert(self, table: str, rows: Sequence[tuple[str]]) -> None:
        if rows:
            self.connection.executemany(f"INSERT INTO {table} VALUES (?)", rows)

    # Their patients -----------------------------------------------------------------------------------------------

    def _records(self, kind: str) -> str:
        """A query for the records (part, patient, kind, json) of a type."""
        parts = self.found.parts
        if kind == REQUESTS:
            return (
                f"SELECT (hash(line) % {parts})::INT AS part, NULL::VARCHAR AS patient, "
                f"CASE WHEN is_read THEN '{kind}' ELSE '{UNREADABLE}{kind}' END AS kind, "
                f"CASE WHEN is_read THEN line END AS json FROM ({self._lines(kind)})"
            )
        if kind == "Medication":
            return self._named_medications(parts)
        whose = "whose" if kind == "Patient" else "bare(whose)"
        named = "bare(regexp_extract(line, 'Patient/[A-Za-z0-9.-]+'))"
        # In one expression and not as filters, which DuckDB would move down and parse each line once more for.
        records = (
            f"SELECT line, is_read, CASE WHEN NOT is_read THEN {named} "
            f"WHEN resource = '{kind}'{self._only(kind)} THEN {whose} END AS patient "
            f"FROM ({self._lines(kind, whose='id' if kind == 'Patient' else _WHOSE)})"
        )
        shown = f"CASE WHEN is_read THEN '{kind}' ELSE '{UNREADABLE}{kind}' END"
        if kind == "MedicationRequest":
            shown = f"CASE WHEN hash(line) IN (SELECT name FROM chosen) THEN '{ORDER}' ELSE {shown} END"
        # Not by a join of the two, which might keep all lines of the file in memory and not the few patients.
        return (
            f"SELECT (CASE WHEN known THEN hash(patient) ELSE 0 END % {parts})::INT AS part, "
            f"CASE WHEN known THEN patient END AS patient, {shown} AS kind, "
            "CASE WHEN is_read THEN line END AS json FROM "
            f"(SELECT *, coalesce(patient IN (SELECT patient FROM patient), false) AS known FROM ({records})) "
            "WHERE known OR NOT is_read"
        )

    def _only(self, kind: str) -> str:
        """Of Observations only those whose text has a code that a query asks for."""
        codes = sorted({code for query in self.knowledge.queries if query.type == kind for code in query.codes})
        if not codes or any(not query.codes for query in self.knowledge.queries if query.type == kind):
            return ""
        return f" AND regexp_matches(line, '\"({'|'.join(codes)})\"')"

    def _named_medications(self, parts: int) -> str:
        """The Medications that the gathered records of a patient refer to."""
        held = [
            self._charts(kind) for kind in ("MedicationRequest", "MedicationAdministration", "MedicationStatement")
        ]
        files = [str(folder / "*" / "*.parquet") for folder in held if any(folder.rglob("*.parquet"))]
        if not files:
            return "SELECT 0 AS part, NULL AS patient, NULL AS kind, NULL AS json WHERE false"
        medications = self._of("Medication", id="id")
        return (
            f"SELECT n.part, n.patient, 'Medication' AS kind, m.line AS json FROM ({medications}) m JOIN "
            "(SELECT DISTINCT part, patient, "
            "bare(coalesce(json_extract_string(json, '$.medicationReference.reference'), "
            "json_extract_string(json, '$.medication.reference.reference'))) AS medication "
            f"FROM read_parquet({quoted_list(files)}, union_by_name = true) WHERE json IS NOT NULL) n "
            "ON m.id = n.medication"
        )


def _nothing(_: Reference | None) -> None:
    return None


def _of_medication(says: str) -> MedicationRequest | None:
    """An order of that Medication."""
    read = lenient.decode(says.encode()).resource
    if not isinstance(read, Medication):
        return None
    made = lenient.read(
        {
            "resourceType": "MedicationRequest",
            "contained": [{**lenient.untyped(says.encode()), "id": "m"}],
            "medicationReference": {"reference": "#m"},
        }
    ).resource
    return made if isinstance(made, MedicationRequest) else None
