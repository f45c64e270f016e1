"""What is said of a chart: its entries in their own words, and why one could not be placed or used."""

from cds_service.says import Four, One, Said, Three, Two

NO_DATE = Said("no-date")
NO_VALUE = Said("no-value")
NO_UNIT = One("no-unit", "number")
QUOTED = One("quoted", "words")
AS_CODED = Said("as-coded")

# What an entry is
PROBLEM = Said("a-problem")
ALLERGY_ENTRY = Said("an-allergy-entry")
PROCEDURE = Said("a-procedure")
MEDICINE = Said("a-medicine")
READING = Said("a-reading")
PART = Said("a-part")
WEIGHT = Said("a-weight")
DOSE = Said("a-dose")
NAMELESS_PROBLEM = Said("nameless-problem")
NAMELESS_ALLERGY = Said("nameless-allergy")
NAMELESS_PROCEDURE = Said("nameless-procedure")
NAMELESS_EVENT = Said("nameless-event")
GIVEN = Said("state-given")
TAKEN = Said("state-taken")
ORDERED = Said("state-ordered")
DRAFTED = Said("state-drafted")
RUNNING = Said("state-running")

# An entry in its own words
DATED = Two("dated", "name", "date")
OPEN_ENTRY = Four("open-entry", "name", "what", "date", "why")
READING_SAYS = Three("reading-says", "name", "date", "value")
READING_SAYS_BUT = Four("reading-says-but", "name", "date", "value", "why")
READING_EMPTY = Two("reading-empty", "name", "date")
READING_EMPTY_AND = Three("reading-empty-and", "name", "date", "why")
VALUE_OF_PART = Two("value-of-part", "name", "value")
EVENT_OF = Three("event-of", "name", "date", "why")
AND_WHY = Two("and-why", "name", "why")

# Why it could not be placed
AHEAD = One("dated-ahead", "what")
READING_AHEAD = Said("reading-ahead")
MEDICINE_AHEAD = Said("medicine-ahead")
EVENT_AHEAD = Said("event-ahead")
SAYS_NOTHING = Said("says-nothing")
NOT_KNOWN_WHAT = Said("not-known-what")
NOT_KNOWN_WHETHER_DONE = Said("not-known-whether-done")
NOT_KNOWN_WHOSE = Said("not-known-whose")
DATE_UNREAD = Said("date-unread")
CODE_NOT_KNOWN = Said("code-not-known")
ANSWER_NOT_KNOWN = Said("answer-not-known")
VALUE_NOT_UNDERSTOOD = Said("value-not-understood")
BEGAN_NOT_RECORDED = Said("began-not-recorded")
NOTHING_KNOWN = Said("list-says-nothing-known")
UNKNOWN_EXTENSION = Said("unknown-extension")
UNKNOWN_RULES = Said("unknown-rules")

# Why a value cannot be used
PRELIMINARY = Said("preliminary")
HAS_NO_VALUE = Said("has-no-value")
NO_NUMBER_WITH_UNIT = Said("no-number-with-unit")
NO_EXACT_VALUE = Said("not-an-exact-value")
NOT_ABOVE_ZERO = Said("not-above-zero")
