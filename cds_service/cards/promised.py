"""Whether a protocol says everything in each language that it promises: `languages` of its protocol.yaml.

A clinician who reads German cards must not meet an English one because a rule is new. A site's own rules, and its
own texts, promise nothing: what they do not say in a language is said in English.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cds_service.cards.languages import File
from cds_service.cards.sentences import OPEN
from cds_service.cards.shown import TextError
from cds_service.cards.texts import ENGLISH, Text
from cds_service.protocol.model import Protocol, Rule


def refuse_untold(protocol: Protocol, cards: Iterable[tuple[str, File]], words: Sequence[File]) -> None:
    """Raises TextError for a shipped card or a shared word that is not there in a promised language."""
    shipped = sorted(
        ((rule, file) for rule, file in cards if not file.site), key=lambda card: card[1].drug is not None
    )
    told = {(rule, file.drug, file.language) for rule, file in shipped}
    for language in protocol.languages:
        for rule, file in shipped:
            if file.language == ENGLISH and (rule, file.drug, language) not in told:
                name = ".".join(part for part in ("card", file.drug, language, "md") if part)
                raise TextError(f"{rule}: there is no {name}, and {protocol.id} promises its cards in {language}")
        known = {key for file in words if file.language == language and not file.site for key in file.words}
        for file in words:
            missing = sorted(key for key in file.words.keys() - known if not OPEN.fullmatch(key))
            if file.language == ENGLISH and not file.site and missing:
                raise TextError(f"words.{language}.yaml: has no words for {missing[0]}")


def refuse_unsaid_changes(protocol: Protocol, rule: Rule, text: Text, file: File) -> None:
    """Raises TextError for a promised card that does not say what changes its severity."""
    if file.site or file.language not in protocol.languages:
        return
    for change in rule.changes:
        if change.because and change.site is None and change.because not in text.because:
            raise TextError(f"{file.shown}: `because` has no words for {change.because!r}")
