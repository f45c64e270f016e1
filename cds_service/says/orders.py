"""What is said of an order: its dosage in words, and what of it could not be read or is written in two ways."""

from collections.abc import Iterable

from cds_service.says import One, Said, Says, Three, Two, listed

# A dosage
NO_DOSE = Said("dosage-none")
RANGE_OF = Two("amount-range", "low", "high")
FROM = One("amount-from", "low")
AMOUNT_PER = Three("amount-per", "number", "unit", "period")
AMOUNT_OF_ONE = Two("amount-of-one", "number", "unit")
AMOUNT_OF_MANY = Two("amount-of-many", "number", "unit")
AT_RATE = One("dosage-at", "rate")
OVER = One("dosage-over", "duration")
FOR = One("dosage-for", "duration")
EVERY = One("dosage-every", "duration")
ONCE_A_WEEK = Said("dosage-once-a-week")
TIMES_A_WEEK = One("dosage-times-a-week", "number")
AS_NEEDED = Said("dosage-as-needed")
AT_MOST = Two("dosage-at-most", "amount", "duration")
THEN = Said("dosage-then")

# Its amounts
IN_ITS_PART = Two("order-part", "part", "what")
FIRST_CHARACTERS = One("order-first-characters", "number")
FIRST_STEPS = Two("order-first-steps", "number", "all")
MORE_CODINGS = Said("order-more-codings")
CONTAINER = Said("order-container")
RATE_AS_DOSE = One("order-rate-as-dose", "unit")
ENDS_OF_TWO_KINDS = One("order-ends-of-two-kinds", "part")
ENDS_CROSSED = One("order-ends-crossed", "part")
NO_AMOUNT_IN_TIME = Said("order-no-amount-in-time")
UNIT_AND_CODE = Two("order-unit-and-code", "unit", "code")
UNIT_AND_CODE_LARGER = Two("order-unit-and-code-larger", "unit", "code")
UNIT_WITHOUT_VALUE = Said("order-unit-without-value")
INEXACT = Two("order-inexact", "comparator", "number")
WITHOUT_UNIT = One("order-without-unit", "number")
BELOW_ZERO = One("order-below-zero", "number")
NO_AMOUNT = Two("order-no-amount", "number", "unit")
ABOVE_OWN_LARGEST = Said("order-above-own-largest")
ABOVE_OWN_MAXIMUM = Said("order-above-own-maximum")
DO_NOT_FIT = Said("order-do-not-fit")
RATE_UNREAD = Said("order-rate-unread")
NO_RUN_TIME = Said("order-no-run-time")
TWO_DOSES = Said("order-two-doses")
TWO_RATES = Said("order-two-rates")

# Its words against its structure
WORDS_SAY_AS_WELL = One("words-say-as-well", "amount")
WORDS_AND_STRUCTURE = Two("words-and-structure", "words", "structure")
WORDS_NOT_COMPARABLE = Two("words-not-comparable", "words", "structure")
WORDS_UNREAD = One("words-unread", "words")
WORDS_AND_TIME = Two("words-and-time", "words", "structure")

# Its times
NO_TIME = One("timing-no-time", "number")
LONGEST_DURATION_SHORTER = Said("timing-longest-duration-shorter")
LONGEST_PERIOD_SHORTER = Said("timing-longest-period-shorter")
BOUNDS_CROSSED = Said("timing-bounds-crossed")
ENDS_BEFORE_START = Said("timing-ends-before-start")
BOUNDS_UNIT_AND_CODE = Two("timing-bounds-unit-and-code", "unit", "code")
NO_NUMBER_OF_DOSES = One("timing-no-number-of-doses", "number")
ONCE_AND_REPEATED = Said("timing-once-and-repeated")
TWO_FREQUENCIES = Said("timing-two-frequencies")
TWO_CODES = Said("timing-two-codes")
COUNT_WITHOUT_INTERVAL = One("timing-count-without-interval", "number")
TIMES_WITHOUT_PERIOD = One("timing-times-without-period", "number")
NO_INTERVAL = Two("timing-no-interval", "number", "seconds")
TIME_UNREAD = Said("timing-time-unread")
MOMENT_UNREAD = Said("timing-moment-unread")
NO_CODE = One("timing-no-code", "name")
NO_CODE_READ_AS = Two("timing-no-code-read-as", "name", "minutes")

# Its strength and its route
TWO_STRENGTHS = Said("strength-two")
STRENGTH_IN_WORDS = Said("strength-in-words")
NO_STRENGTH = Said("strength-none")
STRENGTH_UNREAD = Said("strength-unread")
TWO_ROUTES = One("route-two", "routes")
ROUTE_CONTRADICTED = Two("route-contradicted", "code", "words")
ROUTE_IN_WORDS = Said("route-in-words")
ROUTE_AND_INSTRUCTIONS = Two("route-and-instructions", "code", "words")
ROUTE_IN_INSTRUCTIONS = One("route-in-instructions", "words")

# Which drug it is, and what it is for
OR = Said("or")
AND = Said("and")
EITHER_DRUG = Three("drug-either", "first", "others", "judged")
BOTH_DRUGS = Two("drug-both", "drugs", "judged")
NAME_AND_CODE = Two("drug-name-and-code", "drug", "code")
CODED_TWICE = Two("drug-coded-twice", "first", "second")
CODED_AND_CALLED = Two("drug-coded-and-called", "code", "name")
REASON_UNREAD = Said("reason-unread")
REASON_WITHOUT_WORDS = Said("reason-without-words")

# Units
NOT_IN_TABLE = Two("unit-not-in-table", "unit", "dimensions")
NOT_IN_TABLE_OF_UNITS = One("unit-not-in-table-of-units", "unit")
NO_NUMBER = One("unit-no-number", "number")
NUMBER_TOO_LONG = Said("unit-number-too-long")


def either(names: Iterable[Says]) -> Says:
    """`a, b or c`."""
    *first, last = names
    return listed((listed(first), last), OR) if first else last
