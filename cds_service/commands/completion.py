"""The command completion: what a shell needs to complete ketamine-cds, made from the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

SHELLS = ("bash", "zsh", "fish")
_NAME = "ketamine-cds"


@dataclass(frozen=True)
class Level:
    """What may follow a command, or an action of one; the first level has no path."""

    path: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]
    """(name or word that is expected there, help)"""
    options: tuple[tuple[str, str, tuple[str, ...]], ...]
    """(name, help, choices)"""

    @property
    def words(self) -> str:
        return " ".join([*(name for name, _ in self.commands), *(name for name, _, _ in self.options)])


def levels(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[Level]:
    """The parser's own level, then those of its commands."""
    below: list[tuple[str, str, argparse.ArgumentParser]] = []
    options: list[tuple[str, str, tuple[str, ...]]] = []
    words: list[tuple[str, str]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            below += [(name, helps.get(name, ""), each) for name, each in action.choices.items()]
        elif action.choices and not action.option_strings:
            words += [(str(each), "") for each in action.choices]
        for name in action.option_strings:
            choices = tuple(map(str, action.choices)) if action.choices else ()
            options.append((name, action.help or "", choices))
    yield Level(path, (*((name, says) for name, says, _ in below), *words), tuple(options))
    for name, _, each in below:
        yield from levels(each, (*path, name))


def completion(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script for a shell."""
    tree = list(levels(parser))
    return _all_fish(tree) if shell == "fish" else _FORMS[shell].format(name=_NAME, **_cases(tree))


# bash and zsh find the level by the words so far and know its words by the same cases; `at` is the path, each name
# after a blank.
_BASH = """\
_ketamine_cds() {{
  local at="" word offered="" before="${{COMP_WORDS[COMP_CWORD-1]}}"
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$at $word" in {paths}) at="$at $word" ;; esac
  done
  case "$at" in
{words}
  esac
  case "$at $before" in
{choices}
  esac
  COMPREPLY=($(compgen -W "$offered" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _ketamine_cds {name}
"""
_ZSH = """\
#compdef {name}
_ketamine_cds() {{
  local at="" word offered="" before="${{words[CURRENT-1]}}"
  for word in "${{(@)words[2,CURRENT-1]}}"; do
    case "$at $word" in {paths}) at="$at $word" ;; esac
  done
  case "$at" in
{words}
  esac
  case "$at $before" in
{choices}
  esac
  compadd -- ${{=offered}}
  _files
}}
compdef _ketamine_cds {name}
"""
_FORMS = {"bash": _BASH, "zsh": _ZSH}


def _cases(tree: list[Level]) -> dict[str, str]:
    words = [f'    "{_at(each.path)}") offered="{each.words}" ;;' for each in tree]
    choices = [
        f'    "{_at(each.path)} {option}") offered="{" ".join(known)}" ;;'
        for each in tree
        for option, _, known in each.options
        if known
    ]
    paths = "|".join(f'"{_at(each.path)}"' for each in tree if each.path)
    return {"paths": paths, "words": "\n".join(words), "choices": "\n".join(choices)}


def _at(path: tuple[str, ...]) -> str:
    return "".join(f" {name}" for name in path)


def _all_fish(tree: list[Level]) -> str:
    return "\n".join(line for level in tree for line in _fish(level)) + "\n"


def _fish(level: Level) -> Iterator[str]:
    """The level is told by the words before; commands only directly after them, options anywhere behind."""
    before = "(commandline -opc)"
    here = "; and ".join(f"contains -- {name} {before}[{n}]" for n, name in enumerate(level.path, 2))
    directly = f"test (count {before}) -eq {len(level.path) + 1}"
    for name, says in level.commands:
        condition = f"{here}; and {directly}" if here else directly
        yield f"complete -c {_NAME} -f -n '{condition}' -a {name} -d {_quoted(says)}"
    for name, says, choices in level.options:
        form = f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
        known = f" -x -a {_quoted(' '.join(choices))}" if choices else ""
        yield f"complete -c {_NAME} -n '{here or directly}' {form}{known} -d {_quoted(says)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
