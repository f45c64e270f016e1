"""The command line: its parser and its commands. Imports of the service wait until a command needs them."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from cds_service.commands.completion import SHELLS, completion
from cds_service.errors import CdsError

BAD_INPUT = 3
INTERRUPTED = 130
"""What a shell has for a command that Ctrl-C ended."""


def _filled(text: str) -> str:
    """A value of the command line. An empty one is most often a shell's variable that is not set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, and 3: argparse's own 2 says that a critical card was found."""
        self.exit(BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def add_argument(self, *names: Any, **about: Any) -> argparse.Action:
        """As argparse has it, but an empty text is no value."""
        if about.get("action", "append") == "append":
            about.setdefault("type", _filled)
        return super().add_argument(*names, **about)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What a command does not know is said by that command, not by the one above it."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"{' '.join(unknown)} not understood{_nearest(unknown[0], self)}")
        return found, unknown


def _nearest(written: str, to: argparse.ArgumentParser) -> str:
    """The option that may be meant, as the end of a sentence."""
    options = [name for action in to._actions for name in action.option_strings]
    near = difflib.get_close_matches(written.partition("=")[0], options, 1)
    return f"; did you mean {near[0]}?" if near else ""


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Print both versions. Raises ProtocolError where the shipped protocol cannot be read."""
        from cds_service.commands.protocol import versions

        print(versions())
        parser.exit()


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="ketamine-cds", description="Order safety for ketamine, as a CDS Hooks service.")
    top.add_argument(
        "--version", action=_Version, nargs=0, help="print the version of the service and of the protocol"
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="start the service (settings: KETAMINE_CDS_… variables)")
    serve.add_argument(
        "--example", metavar="FILE", help="post this hook request once the service listens, and show it"
    )
    serve.add_argument("--host", metavar="ADDRESS", help="listen here, whatever KETAMINE_CDS_HOST says")
    serve.add_argument("--port", metavar="PORT", help="listen at this port, whatever KETAMINE_CDS_PORT says")

    for name, says in (
        ("check", "judge a hook request and show its cards; exit 0: none, 1: cards, 2: critical, 3: bad input"),
        ("explain", "show how every rule ended for a hook request, and the facts behind it"),
    ):
        command = commands.add_parser(name, help=says, description=says)
        command.add_argument("file", metavar="FILE", help="a CDS Hooks request as JSON, or - for standard input")
        command.add_argument("--json", action="store_true", help="for machines")
        command.add_argument("--now", metavar="DATETIME", help="judge as of this moment (ISO 8601), not of the clock")
        command.add_argument(
            "--hook", choices=("order-select", "order-sign", "patient-view"), help="instead of the request's own hook"
        )
        if name == "check":
            command.add_argument("--language", metavar="TAG", help="of the cards, such as de; else English")
        if name == "explain":
            command.add_argument("--client", metavar="ID", help="with what clinicians of this client overrode")

    example = commands.add_parser("example", help="print an example request with its dates moved to now")
    example.add_argument("file", metavar="FILE", help="a file of examples/")

    protocol = commands.add_parser("protocol", help="validate, show or compare the protocol and a site's overlay")
    actions = protocol.add_subparsers(dest="action", required=True, metavar="ACTION")
    validate = actions.add_parser("validate", help="check the protocol, and an overlay where one is named")
    validate.add_argument("overlay", nargs="?", help="a site overlay file")
    show = actions.add_parser("show", help="print rules and limits, with an overlay's changes where one is named")
    show.add_argument("id", nargs="?", help="a rule or limit; all of them without it")
    show.add_argument("--overlay", help="a site overlay file")
    says = "judge a site's own scenarios"
    test = actions.add_parser("test", help=says, description=f"{says}; exit 0: all as expected, 1: not, 3: bad input")
    test.add_argument("folder", metavar="DIR", help="the folder of a site, of a protocol, or of one rule")
    test.add_argument("--overlay", help="a site overlay file, instead of DIR/overlay.yaml")
    test.add_argument(
        "--now", metavar="DATETIME", help="when they take place (ISO 8601); by default today at 10:00 UTC"
    )
    says = "print what an overlay changes, or what changes from one to another and at how many orders"
    diff = actions.add_parser("diff", help=says)
    diff.add_argument("overlay", help="a site overlay file")
    diff.add_argument("new", nargs="?", help="the overlay that is to take its place; the effect is shown too")
    diff.add_argument("--replay", metavar="DIR", help="report with the effect, instead of the protocol's scenarios")
    evidence = actions.add_parser("evidence", help="print each citation, what was read of it, and what rests on it")
    evidence.add_argument("--overlay", help="a site overlay file")
    evidence.add_argument("--json", action="store_true", help="for machines")
    says = "print the page that a pharmacist signs: every limit by hazard, what changed, what a site must add"
    sign_off = actions.add_parser("sign-off", help=says)
    sign_off.add_argument("--overlay", help="a site overlay file")
    sign_off.add_argument("--owner", metavar="NAME", help="who answers for the change; stands on the page")
    sign_off.add_argument("--date", metavar="DATE", help="since when (ISO 8601); today by default")
    sign_off.add_argument("--replay", metavar="DIR", help="report of the replay of this overlay; its digest is named")
    sign_off.add_argument("--out", metavar="FILE", help="write the page there; nothing is overwritten")
    sign_off.add_argument(
        "--check", metavar="FILE", help="say whether a signed page stands for these files; exit 1: it does not"
    )
    says = "write the protocol for other software (docs/cql.md)"
    publish = actions.add_parser("publish", help=says, description=f"{says}; files of that name are replaced")
    publish.add_argument(
        "--cql", metavar="DIR", required=True, help="folder for its CQL libraries, FHIR resources and value sets"
    )
    publish.add_argument("--overlay", help="a site overlay file")

    store = commands.add_parser("store", help="migrate, prune or export what was recorded (see docs/store.md)")
    actions = store.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("migrate", help="bring the tables up to date; serve does it, too")
    prune = actions.add_parser("prune", help="delete what is older than the retention time")
    prune.add_argument("--days", type=int, metavar="N", help="instead of KETAMINE_CDS_RETENTION_DAYS")
    export = actions.add_parser("export", help="print every record as a line of JSON")
    export.add_argument("--since", metavar="DATETIME", help="only what was recorded from then on (ISO 8601)")

    says = "write months of made-up activity into a store, for a look at the stewardship pages"
    demo = commands.add_parser("demo-data", help=says, description=says)
    demo.add_argument("--days", type=int, metavar="N", default=90, help="so many days until now; 90 by default")
    demo.add_argument(
        "--store", metavar="URL", help="a store that holds nothing real; demo.sqlite in the state folder by default"
    )

    _add_replay(commands)
    _add_connecting(commands)
    terminology = commands.add_parser("terminology", help="expand or check the value sets on a terminology server")
    actions = terminology.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, says in (
        ("expand", "write what a server makes of the shipped sets into a directory for KETAMINE_CDS_VALUESETS"),
        ("check", "report codes that a server does not know, shows under another name or as inactive"),
    ):
        action = actions.add_parser(name, help=says, description=f"{says}; exit 0: all well, 1: not, 3: bad input")
        action.add_argument("--tx", metavar="URL", required=True, help="base URL of a FHIR R4 terminology server")
        action.add_argument("--set", metavar="NAME", action="append", help="only this set; may be given again")
        if name == "expand":
            action.add_argument("--into", metavar="DIR", required=True, help="where the ValueSet files are written")
    says = "print what a shell needs to complete these commands"
    shell = commands.add_parser("completion", help=says, description=says)
    shell.add_argument("shell", choices=SHELLS)
    return top


def _add_replay(commands: Any) -> None:
    """What a policy would have said of past orders, and data to try that with."""
    says = "judge past orders by a policy, or by an old and a new one, and write a report"
    about = (
        f"{says} (docs/replay.md). Needs the extra replay, and spark for --engine spark. "
        "Exit 0: done, 1: a --fail-if holds, 3: bad input"
    )
    replay = commands.add_parser("replay", help=says, description=about)
    add = replay.add_argument
    add(
        "source",
        metavar="SOURCE",
        help="folder or file: Bulk Data export (NDJSON by type), hook requests by line, or Parquet",
    )
    add("--against", metavar="FILE", help="the old policy: a site overlay file; by default that of the settings")
    add("--overlay", metavar="FILE", action="append", help="a new policy; may be given again")
    add("--as-of", choices=("order", "now"), default="order", help="what was known: when it was signed, or by now")
    add("--now", metavar="DATETIME", help="the moment of --as-of now, instead of the clock's (ISO 8601)")
    add("--since", metavar="DATE", help="only orders that were signed from then on")
    add("--until", metavar="DATE", help="only orders that were signed before then")
    add("--by", metavar="NAMES", default="ward,indication", help="of ward, client, indication, requester")
    add(
        "--workers",
        metavar="N",
        type=int,
        default=os.cpu_count() or 1,
        help="processes; one for each core by default",
    )
    add(
        "--engine",
        choices=("local", "spark"),
        default="local",
        help="what judges: this machine's processes, or Spark",
    )
    add("--master", metavar="URL", help="of a Spark cluster; by default --workers processes of this machine")
    add("--out", metavar="DIR", required=True, help="folder for the report; an unfinished replay in it goes on")
    add(
        "--fail-if",
        metavar="TEXT",
        action="append",
        help='such as "new-interruptive-per-100 > 5"; may be given again',
    )

    says = "fetch a Bulk Data export from a FHIR server, for replay"
    about = (
        f"{says}. The same command goes on with one that was stopped. Exit 0: all came, 1: something is missing "
        "and named, 3: bad input, or the server did not do it"
    )
    add = commands.add_parser("export", help=says, description=about).add_argument
    add("url", metavar="URL", help="base URL of the FHIR R4 server")
    add("--into", metavar="DIR", required=True, help="folder for the files, empty or with an unfinished export")
    add("--types", metavar="NAMES", help="resource types with commas between; by default all that replay reads")
    add("--group", metavar="ID", help="only the patients of this Group; all patients by default")
    add("--system", action="store_true", help="all that the server has, not only what belongs to patients")
    add("--since", metavar="DATETIME", help="only what changed since then (ISO 8601)")
    add("--client", metavar="ID", help="who asks: the client_id that the server has registered")
    add("--key", metavar="FILE", help="its private key, as keys new writes it (SMART backend services)")
    add("--token-url", metavar="URL", help="where the server gives tokens, where it does not say so itself")
    add("--scope", metavar="TEXT", help="scopes to ask for; by default to read each type")
    add("--token-file", metavar="FILE", help="file with an access token, instead of a key")
    add("--hours", metavar="N", type=float, default=24, help="so long may it take; 24 by default")
    add("--gigabytes", metavar="N", type=float, default=200, help="so much may come; 200 by default")

    says = "write synthetic hospital data, as a Bulk Data export, to try replay with"
    synthetic = commands.add_parser("synthetic", help=says, description=f"{says}. Nobody of it lives")
    synthetic.add_argument("folder", metavar="DIR", help="where the files are written")
    synthetic.add_argument(
        "--orders", metavar="N", type=int, default=2000, help="orders; one in a hundred is ketamine"
    )
    synthetic.add_argument("--seed", metavar="N", type=int, default=1, help="another one, other data")


def _add_connecting(commands: Any) -> None:
    """The commands for whoever connects an EHR."""
    says = "look at this deployment and say what to change"
    doctor = commands.add_parser("doctor", help=says, description=f"{says}; exit 0: well, 1: warnings, 2: wrong")
    doctor.add_argument("--client", metavar="ID", help="only this client of the file of clients")
    doctor.add_argument(
        "--patient", metavar="ID", help="a test patient of its FHIR server; by default nobody's chart"
    )
    doctor.add_argument("--fhir-token-file", metavar="FILE", help="file with an access token for its FHIR server")
    doctor.add_argument("--json", action="store_true", help="for machines")

    keys = commands.add_parser("keys", help="make the keys with which a client signs")
    made = keys.add_subparsers(dest="action", required=True, metavar="ACTION").add_parser(
        "new", help="write a private key and its JWK Set into a folder; nothing is overwritten"
    )
    made.add_argument("--into", metavar="DIR", required=True, help="folder for both files")
    made.add_argument("--algorithm", choices=("ES384", "RS384"), default="ES384", help="ES384 by default")
    made.add_argument("--kid", metavar="NAME", help="the key's id; its thumbprint by default")

    says = "act as the EHR: prefetch from a FHIR server, call a CDS Hooks service, show its cards"
    simulate = commands.add_parser("simulate", help=says, description=f"{says}; exit as check does")
    add = simulate.add_argument
    add("file", nargs="?", metavar="FILE", help="orders as JSON: a resource, a Bundle or a hook request")
    add("--patient", metavar="ID", help="whose chart; without it the sandbox's patients are listed")
    add("--order", metavar="TEXT", action="append", help='an order such as "0.6 mg/kg/h IV"; may be given again')
    hooks = ("order-select", "order-sign", "patient-view")
    add("--hook", default="order-sign", choices=hooks, help="order-sign by default")
    add("--service", metavar="URL", help="base URL of the CDS service; that of the settings by default")
    add("--id", metavar="ID", help="the id of the service, where several have that hook")
    add("--fhir", metavar="URL", help="base URL of the FHIR server; the sandbox of the service by default")
    add("--fhir-token-file", metavar="FILE", help="file with an access token for it")
    add("--encounter", metavar="ID", help="the encounter; by default one that is in progress")
    add("--no-prefetch", action="store_true", help="send no data: the service fetches what it needs")
    add("--key", metavar="FILE", help="private key with which calls are signed, as keys new writes it")
    add("--issuer", metavar="URL", help="iss of the tokens")
    add("--jku", metavar="URL", help="jku of the tokens")
    add("--tenant", metavar="ID", help="tenant of the tokens")
    add("--accept", metavar="N", type=int, help="accept the suggestion of that number, and call again")
    add("--put", action="store_true", help="write what --accept changes to the FHIR server")
    add("--override", metavar="N", type=int, help="override the card of that number")
    add("--reason", metavar="CODE", help="the reason of --override")
    add("--record", metavar="FILE", help="keep the request for a bug report, without what identifies a patient")
    add("--json", action="store_true", help="the answer for machines")


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        status = _run(parser().parse_args(arguments))
        sys.stdout.flush()
    except CdsError as error:
        print(f"ketamine-cds: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("ketamine-cds: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output has gone; nothing may be written when Python ends, either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BAD_INPUT
    return status


def _run(given: argparse.Namespace) -> int:
    if given.command == "serve":
        from cds_service.commands.serve import serve

        return serve(given.example, given.host, given.port)
    if given.command == "protocol" and given.action == "test":
        from cds_service.commands import scenarios

        return scenarios.run(Path(given.folder), given.overlay, given.now)
    if given.command == "protocol" and given.action == "publish":
        from cds_service.commands import publish

        return publish.run(Path(given.cql), given.overlay)
    if given.command == "protocol":
        from cds_service.commands import protocol

        return protocol.run(given)
    if given.command == "store":
        from cds_service.commands import store

        return store.run(given)
    if given.command == "demo-data":
        from cds_service.commands import demo_data

        return demo_data.run(given.days, given.store)
    if given.command in ("replay", "synthetic"):
        from cds_service.commands import replay

        return replay.replay(given) if given.command == "replay" else replay.synthetic(given)
    if given.command == "export":
        from cds_service.commands import export

        return export.run(given)
    if given.command == "terminology":
        from cds_service.commands import terminology

        return terminology.run(given)
    if given.command == "doctor":
        from cds_service.commands import doctor

        return doctor.run(given)
    if given.command == "keys":
        from cds_service.commands import keys

        return keys.run(given)
    if given.command == "simulate":
        from cds_service.commands import simulate

        return simulate.run(given)
    if given.command == "completion":
        print(completion(given.shell, parser()), end="")
        return 0
    if given.command == "example":
        from cds_service.commands.examples import example

        return example(given.file)
    from cds_service.commands import check

    if given.command == "check":
        return check.check(given.file, given.hook, given.now, given.json, given.language)
    return check.explain(given.file, given.hook, given.now, given.json, given.client)


if __name__ == "__main__":
    sys.exit(main())
