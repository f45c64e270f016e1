"""What is said of answers: why a list did not come, or not whole, and which resources could not be read."""

from cds_service.says import One, Said, Three, Two

# Why a list did not come
NOT_SENT_NO_SERVER = Said("not-sent-no-server")
NOT_SENT_TOKEN_TOO_LONG = Said("not-sent-token-too-long")
NOT_SENT_SERVER_NOT_ALLOWED = Said("not-sent-server-not-allowed")
NOT_SENT_AS_ALWAYS = Said("not-sent-as-always")
NO_PATIENT_NAMED = Said("no-patient-named")
NOT_IN_TIME = Said("server-not-in-time")
NOT_WITHIN = One("server-not-within", "milliseconds")
NEXT_PAGE_ELSEWHERE = Said("server-next-page-elsewhere")
MORE_PAGES = One("server-more-pages", "number")
NO_SEARCH_RESULT = Said("server-no-search-result")
SERVER_ANSWERED = One("server-answered", "status")
ANSWER_TOO_LARGE = Said("server-answer-too-large")
NOT_REACHED = Said("server-not-reached")
ANSWERED_WITH_ERROR = Said("answered-with-error")
ANSWERED_WITH_CODE = One("answered-with-code", "code")
NO_CODE = Said("no-code")

# Why it is not whole, or is not what was asked for
TOO_MANY_VALUES = One("answer-too-many-values", "number")
FIRST_ENTRIES = Two("answer-first-entries", "number", "all")
CAME = Two("answer-came", "number", "all")
NO_JSON = Said("answer-no-json")
NO_RESOURCE = Said("answer-no-resource")
UNOPENED = One("answer-unopened", "type")
NEITHER_BUNDLE_NOR = One("answer-neither-bundle-nor", "type")
ONE_INSTEAD_OF_SEARCH = One("answer-one-instead-of-search", "type")
ANOTHER_SEARCH = Said("answer-another-search")
ENTRIES_UNREAD = One("answer-entries-unread", "number")
ENTRY_HOLDS_MORE = One("answer-entry-holds-more", "what")
FIRST_PAGE = One("answer-first-page", "why")

# Entries
OF_ANOTHER_PATIENT = Two("of-another-patient", "number", "type")
ABOUT_ANOTHER = One("about-another", "number")
ENTRY_WITHOUT_RESOURCE = Said("entry-without-resource")
ENTRY_NO_RESOURCE = Said("entry-no-resource")
RESOURCE_TOO_LARGE = One("resource-too-large", "number")
RESOURCE_TOO_DEEP = Said("resource-too-deep")
RESOURCE_NO_JSON = Said("resource-no-json")
RESOURCE_WITHOUT_TYPE = Said("resource-without-type")
UNREAD = One("element-unread", "path")
MORE_MEMBERS = Two("element-more-members", "path", "number")
MORE_CHARACTERS = Two("element-more-characters", "path", "number")

# Drafts
WHETHER_IT_IS = One("draft-whether-it-is", "drugs")
DRAFT_OF_ANOTHER = One("draft-of-another", "family")
DRAFT_ONLY_REFERENCED = One("draft-only-referenced", "unknown")
DRAFT_HOLDS_MORE = Two("draft-holds-more", "what", "unknown")
DRAFT_WITHOUT_MEDICATION = One("draft-without-medication", "unknown")
DRAFT_UNREAD = One("draft-unread", "unknown")
DRAFT_NO_REQUEST = Two("draft-no-request", "type", "drug")

# What is running
NEWEST_RUNNING = Two("running-newest", "number", "all")
RATE_UNREAD = Two("running-rate-unread", "name", "date")
DATE_UNREAD = Two("running-date-unread", "name", "date")
OTHERWISE_THAN_ORDER = Two("running-otherwise", "name", "date")
RUNNING_BUT = Three("running-but", "name", "date", "why")

# The request
NO_HOOK = One("request-hook", "hook")
NO_INSTANCE = Said("request-hook-instance")
REPLACED = Said("request-characters-replaced")
TOO_DEEP = One("request-too-deep", "number")
NO_CONTEXT = Said("request-context")
NO_PATIENT = Said("request-patient")
NO_DRAFTS = Said("request-drafts-missing")
DRAFTS_NO_BUNDLE = Said("request-drafts-no-bundle")
FIRST_DRAFTS = One("request-first-drafts", "number")
SELECTIONS_UNREAD = Said("request-selections")
PREFETCH_TOO_LARGE = One("request-prefetch-too-large", "number")
PREFETCH_UNREAD = Said("request-prefetch-unread")
FIRST_KEYS = Two("request-first-keys", "number", "all")
