"""A signature and a replay name all that clinicians are shown, a site's own words among it, and nothing beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cds_service import cli
from cds_service.cards.loading import load as load_texts
from cds_service.knowledge import Knowledge
from cds_service.retrospect.policies import digest_of
from cds_service.signature import digest

LIDOCAINE = str(Path(__file__).parents[1] / "examples" / "protocols" / "lidocaine")
OWN_WORDS = {
    "words.yaml": "label-delete: Strike this order now",
    "words.de.yaml": "label-delete: Verordnung jetzt streichen",
    "oxygen-low.md": "---\ntitle: Low oxygen\nsummary: Find the cause\n---\n\nAsk the ward now.",
    "oxygen-low.de.md": "---\ntitle: Wenig Sauerstoff\nsummary: Die Ursache finden\n---\n\nStation jetzt fragen.",
}


def with_words(knowledge: Knowledge, folder: Path, files: dict[str, str]) -> Knowledge:
    (folder / "texts").mkdir(parents=True)
    for name, text in files.items():
        (folder / "texts" / name).write_text(text, "utf-8")
    return replace(knowledge, texts=load_texts(knowledge.protocol, folder / "texts"))


@pytest.mark.parametrize("name", OWN_WORDS)
def test_words_of_a_site_ask_for_a_signature_of_their_own(name: str, knowledge: Knowledge, tmp_path: Path) -> None:
    one = with_words(knowledge, tmp_path / "one", {name: OWN_WORDS[name]})
    other = with_words(
        knowledge, tmp_path / "other", {name: OWN_WORDS[name].replace(" now", "").replace(" jetzt", "")}
    )
    assert len({digest(knowledge), digest(one), digest(other)}) == 3


def test_the_same_words_are_signed_alike_wherever_they_lie(knowledge: Knowledge, tmp_path: Path) -> None:
    here, there = (with_words(knowledge, tmp_path / name, OWN_WORDS) for name in ("here", "there"))
    assert digest(here) == digest(there)


def test_a_folder_without_a_text_changes_nothing(knowledge: Knowledge, tmp_path: Path) -> None:
    assert digest(with_words(knowledge, tmp_path / "site", {})) == digest(knowledge)


def overlay_of(folder: Path, **texts: str) -> str:
    (folder / "texts").mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / "texts" / f"{name}.md").write_text(text, "utf-8")
    file = folder / "overlay.yaml"
    file.write_text("site: General Hospital\n", "utf-8")
    return str(file)


def test_an_overlay_is_known_by_what_stands_beside_it_and_by_its_names(tmp_path: Path) -> None:
    one = digest_of(overlay_of(tmp_path / "one", age="a", route="b"))
    assert digest_of(overlay_of(tmp_path / "same", route="b", age="a")) == one
    assert digest_of(overlay_of(tmp_path / "swapped", age="b", route="a")) != one
    assert digest_of(overlay_of(tmp_path / "moved", age="", route="ab")) != one
    (tmp_path / "one" / "texts" / ".hidden").write_text("left there by a file browser")
    assert digest_of(str(tmp_path / "one" / "overlay.yaml")) == one


def test_a_signed_page_does_not_stand_for_words_that_came_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay, page = overlay_of(tmp_path), tmp_path / "signed.md"
    assert cli.main(["protocol", "sign-off", "--overlay", overlay, "--out", str(page)]) == 0
    (tmp_path / "texts" / "words.yaml").write_text(OWN_WORDS["words.yaml"], "utf-8")
    capsys.readouterr()
    assert cli.main(["protocol", "sign-off", "--overlay", overlay, "--check", str(page)]) == 1
    assert "the page was signed for digest" in capsys.readouterr().out


def test_the_pages_of_two_protocols_are_signed_and_checked_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "signed.md"
    monkeypatch.setenv("KETAMINE_CDS_PROTOCOLS", LIDOCAINE)
    assert cli.main(["protocol", "sign-off", "--out", str(page)]) == 0
    assert cli.main(["protocol", "sign-off", "--check", str(page)]) == 0
    assert "the page stands for ketamine" in capsys.readouterr().out
    page.write_text(page.read_text("utf-8").replace("| digest | `", "| digest | `0", 1), "utf-8")
    assert cli.main(["protocol", "sign-off", "--check", str(page)]) == 1
