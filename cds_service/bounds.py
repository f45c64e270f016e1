"""What a request or a file may hold, and the console keep: what each bound is of, why so wide, what is beyond it.

The bounds are technical; none is clinical. What is over one is left out and said on a card: it is no error, and it is
never silent. docs/bounds.md is written from `TABLE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import msgspec

from cds_service.deadline import give_way

DIGITS = 40
CHARACTERS = 2_000
PROSE = 20_000
MEMBERS = 200
STEPS = 25
VALUES = 1_000_000
BEGINNING = 100_000
RESOURCE_VALUES = 100_000
KEYS = 100
ENTRIES = 10_000
DRAFTS = 500
NESTING = 64
COPY = 100_000
WEIGHTS = 50
PARTS = 50
SHOWN = 200
REFERENCE = 300
LINES = 30
WORDS = 60
DETAIL = 400
MEDICATIONS = 64
REFERENCES = 25
HEADER = 32_768
ADDRESS = 8_192
FEEDBACK = 1_000
FEEDBACK_VALUES = 100_000
LAUNCHES = 1_000
VISITS = 500
CHARTS = 32
FILE = 10_000_000
LEVELS = 100
_PIECE = 250_000
_NO_VALUE = bytes(set(range(256)).difference(b",{["))
"""All bytes of JSON but those that begin a value, or come before one."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One row of the table: what is bounded, at how much, why that is wide enough, and what happens above it."""

    name: str
    of: str
    why: str
    above: str

    @property
    def value(self) -> int:
        found: int = globals()[self.name]
        return found


TABLE = (
    Bound(
        "DIGITS",
        "digits of a number, and places between its first digit and its point",
        "no clinician writes a millionth of that; doubles have 17",
        "could not be read, as any number that is none; an order that carries one is not changed by a suggestion",
    ),
    Bound(
        "CHARACTERS",
        "characters of a name, a code, a unit, a date, a reference: of every string that is read, but for prose",
        "an allergy told in the place of its name has some 500",
        "the rest is left out",
    ),
    Bound(
        "PROSE",
        "characters of an instruction, or of a finding in words",
        "a long report has some 10,000",
        "the rest is left out",
    ),
    Bound(
        "MEMBERS",
        "members of a list inside a resource: codings, contained resources, dosage instructions, ingredients …",
        "a parenteral nutrition has 50 ingredients, a large panel 60 components",
        "the rest is left out",
    ),
    Bound(
        "STEPS",
        "instructions of an order, and amounts of one measure in its words",
        "each dose is held against all others; a taper of three weeks has 21",
        "of the instructions the rest is left out, of the amounts the lowest are",
    ),
    Bound(
        "VALUES",
        "JSON values (objects, lists and their members) of a request, or of a page of a FHIR server",
        "16 MB of an ordinary chart, without blanks, have 920,000",
        "the prefetch, or the page, is not read; of the rest of a request its beginning is",
    ),
    Bound(
        "BEGINNING",
        "JSON values of the drafts; of what holds more, and of a request with too many values, so many strings, "
        "brackets and commas are read",
        "500 drafts of 60 elements; a context comes before the prefetch, as documented and by the alphabet",
        "a draft that is cut, and those behind it, are not read, and a card says so; a context behind it is 413",
    ),
    Bound(
        "RESOURCE_VALUES",
        "JSON values of one resource",
        "the largest of the sandbox patients has 560",
        "it is not read, and a card says so",
    ),
    Bound(
        "KEYS",
        "keys of the prefetch",
        "this service asks for fewer than 20; a client may send what others ask for",
        "the rest is left out",
    ),
    Bound(
        "ENTRIES",
        "entries of a page of a FHIR server, and of all prefetched Bundles together",
        "two weeks of intensive care have some 5,000 observations",
        "the rest is left out",
    ),
    Bound(
        "DRAFTS",
        "draft orders of a request; running infusions of ketamine at patient-view",
        "a large order set has 100; fewer ketamine orders still are judged (`orders-at-once` of the protocol)",
        "the rest is left out, and whether ketamine is among it is not known",
    ),
    Bound(
        "NESTING",
        "levels of a request that is nested deeper than the interpreter follows "
        "(some 1,000 levels, from Python 3.12 on more)",
        "R4 resources have some 20",
        "what lies deeper is left out",
    ),
    Bound(
        "COPY",
        "bytes of an order that a suggestion sends back changed",
        "an ordinary order has 5,000",
        "the change is not offered",
    ),
    Bound(
        "WEIGHTS",
        "weights that are tried where the newest is doubted, each against all before it",
        "two or three are ever needed",
        "no weight is believed: doses per kg are judged, doses in mg could not be checked",
    ),
    Bound(
        "PARTS",
        "doses and rates of one drug, ordered or running, whose worst hour is added up",
        "a loading dose, an infusion and a rescue are three",
        "the sum could not be checked; each order is judged by itself",
    ),
    Bound(
        "SHOWN",
        "characters that a card shows of a text from outside",
        "two lines; the chart has the rest",
        "its middle is left out, with … in its place",
    ),
    Bound(
        "REFERENCE",
        "characters of a patient's or an encounter's id, and of the reference of an order or a weight in an answer",
        "Epic's identifiers have 190; R4 allows 64",
        "the id counts as missing; of a reference the middle is left out, and the order's removal is not offered",
    ),
    Bound(
        "LINES",
        "reasons and notes of one rule in the extension of an answer",
        "nobody reads more",
        "the rest is left out",
    ),
    Bound(
        "WORDS",
        "words of a card's detail",
        "a card is read in three seconds",
        "what matters most is kept, the rest is named, and then counted",
    ),
    Bound(
        "DETAIL",
        "characters of a card's detail",
        "as above",
        "as above",
    ),
    Bound(
        "MEDICATIONS",
        "medicines of a chart that say only where to look, and are fetched",
        "each is a request to the EHR's server; a chart has some 20 active orders",
        "what they are is not known, and a card says so",
    ),
    Bound(
        "REFERENCES",
        "other resources that are fetched one by one because drafts or infusions name them, at one step of a call",
        "an order names one medication",
        "what they are is not known, and a card says so",
    ),
    Bound(
        "HEADER",
        "characters of a request's address and header together",
        "a token has at most 8,192; proxies let pass as much",
        "431, before anything of it is read",
    ),
    Bound(
        "ADDRESS",
        "characters of a link, or of an address at an EHR's server",
        "servers take no longer one",
        "not followed; the list counts as not whole",
    ),
    Bound(
        "FEEDBACK",
        "entries of one request with feedback",
        "one shift's cards of a ward",
        "413, and nothing of it is stored; the client sends them in several requests",
    ),
    Bound(
        "FEEDBACK_VALUES",
        "JSON values of one request with feedback",
        "1,000 entries of 100; an entry has some twenty",
        "413, and nothing of it is stored; the client sends them in several requests",
    ),
    Bound(
        "LAUNCHES",
        "sign-ins at another server for whose answer the console waits, each for ten minutes",
        "a hospital of 1,000 beds begins some in a minute",
        "the oldest is given up; its answer is refused, and the person begins again",
    ),
    Bound(
        "VISITS",
        "patients for whom the SMART app is open at once",
        "one for each of 500 clinicians",
        "the oldest is closed; its page says so, and the clinician launches it again from the EHR",
    ),
    Bound(
        "CHARTS",
        "charts that the SMART app remembers, each for a minute",
        "so many clinicians type an order in the same minute",
        "the oldest is read anew at the next key",
    ),
    Bound(
        "FILE",
        "bytes of a file that a site has written: clients, profile, overlay, text, keys, certificates",
        "the authorities that all browsers trust take 250,000",
        "refused in one sentence, as a pipe or a device is: no start, and a reload changes nothing",
    ),
    Bound(
        "LEVELS",
        "levels of a YAML file",
        "the shipped ones have some 15",
        "refused in one sentence, and so are aliases that stand for more values than a request may have",
    ),
)


_LARGEST: int = 10**DIGITS


def is_figure(number: Decimal | int) -> bool:
    """Whether a number is finite and within DIGITS: at once, however it is written."""
    if isinstance(number, int):
        return abs(number) < _LARGEST
    if not number.is_finite() or not -DIGITS <= number.adjusted() <= DIGITS:
        return False
    return len(str(number)) <= DIGITS or len(number.as_tuple().digits) <= DIGITS


def holds_too_much(raw: msgspec.Raw | bytes, most: int = VALUES) -> bool:
    """Whether JSON has more values than that: each costs some hundred bytes once it is decoded, however short it is.

    They are counted piece by piece, and other calls of the process go first meanwhile.
    """
    view, found = memoryview(raw), 0
    if len(view) <= most:
        return False
    for start in range(0, len(view), _PIECE):
        found += len(bytes(view[start : start + _PIECE]).translate(None, _NO_VALUE))
        if found > most:
            return True
        give_way()
    return False
