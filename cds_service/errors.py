"""The tree of errors: every error that this service raises on purpose has one base, which the doors catch.

    CdsError                    the message is one sentence for people, and holds nothing of a patient
    ├── ConfigurationError      a file or a setting cannot be used; the service does not start with it
    │   ├── SettingError        settings: an environment variable
    │   ├── ClientsError        hooks.clients: the file of clients
    │   ├── ProfileError        hooks.profiles: a client's profile
    │   ├── DrugError           terminology.drugs: the drugs of a protocol
    │   ├── RoleError           terminology.roles: the value sets by which charts are read
    │   ├── LogicError          protocol.logic: one line of it
    │   ├── ProtocolError       protocol.errors: the protocol, or a site's overlay
    │   ├── TextError           cards.texts: the words of a card
    │   ├── ValueSetError       terminology.valueset: a value set
    │   ├── VocabularyError     terminology.vocabulary: the words of a value set
    │   └── UnusableKey         store.keys: the key of the store
    ├── HookError               hooks.errors: an answer that is not 200, with one subclass for each status
    ├── UnitError               units: a quantity that cannot be read (a ValueError as well)
    ├── SaysWhy                 patience: something else did not answer
    │   ├── Unanswered          patience: at all, or in time
    │   └── StoreError          store.engines: the database
    ├── Failure                 transport: nothing, or not all, came from a server
    ├── KeysUnavailable         hooks.keysets: a client's keys could not be read
    ├── TxError, TxRefusal      terminology.tx: the terminology server
    ├── Failed, UnreadableKey   sandbox.caller: acting as an EHR; UnreadableOrder of sandbox.orders likewise
    ├── NotSignedIn             console.oauth: an EHR or a provider of identities let nobody in
    ├── Unwritten               console.form: what was typed is no order
    ├── NotServed, Full         sandbox.server, sandbox.written: an answer of its FHIR server that is not 200
    ├── ScenarioError           scenarios.coded: a scenario that cannot be read
    ├── NoEngine, NoExport      retrospect: a package is not installed, there is nothing to replay
    ├── Stopped, NotAGate       retrospect: a replay cannot go on, a condition cannot be read
    ├── NotAReport              retrospect.results: a folder holds no report, or one that was changed
    └── Refused                 commands.refused: a command was called with something it cannot work with

The commands print the sentence and end with exit code 3; a worker that cannot start logs it; over HTTP only a
HookError becomes an answer. A private exception that never leaves its module is no error and does not belong to the
tree; nor are deadline.Late, which steers a request that is out of time, and Unsaid of protocol.cql, which leaves a
rule out of what is published.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What Python raises for a file that is missing, is no text, has an unexpected shape or is nested too deep."""


class CdsError(Exception):
    """Base of the tree. Catch it at a door, and a subclass wherever something else can be done about it."""


class ConfigurationError(CdsError):
    """Something that the operator or the protocol's owner wrote cannot be used. The message names the place."""


@contextmanager
def reading(path: Path, error: type[CdsError], called: str = "") -> Iterator[None]:
    """Whoever reads a file here says in one sentence, as `error`, that and why it cannot be read.

    `called` says what the file is.
    """
    try:
        yield
    except UnicodeDecodeError as fault:
        raise error(f"{called}{path}: cannot be read: not in UTF-8") from fault
    except OSError as fault:
        raise error(f"{called}{path}: cannot be read: {fault.strerror}") from fault
    except ValueError as fault:  # a name that no file can have
        raise error(f"{called}{path}: cannot be read: {fault}") from fault
