"""The little Markdown that our own sheets are written in, as HTML: headings, tables, lists, links, code.

Everything is escaped first; only a link to a place of the page or to http(s) becomes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

_ANCHOR = re.compile(r"&lt;a id=&#34;([A-Za-z0-9_.-]+)&#34;&gt;&lt;/a&gt;")
_LINK = re.compile(r"\[([^\[\]]+)\]\((#[A-Za-z0-9_./-]+|https?://[^\s()]+(?:\([^\s()]*\))?[^\s()]*)\)")
_CODE = re.compile(r"`([^`]+)`")
_BOLD = re.compile(r"\*\*([^*]+)\*\*")
_ITALIC = re.compile(r"(?<![*\w])\*([^*]+)\*(?![*\w])")
_CELLS = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r"\|(?:\s*:?-+:?\s*\|)+")
_LIST = re.compile(r"( *)- (.*)")


def as_html(text: str) -> Markup:
    """The whole text."""
    return Markup("\n".join(_blocks(text.split("\n"))))


def _blocks(lines: list[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        end = at + 1
        if line.startswith("```"):
            while end < len(lines) and not lines[end].startswith("```"):
                end += 1
            yield f'<pre tabindex="0">{escape(chr(10).join(lines[at + 1 : end]))}</pre>'
            end += 1
        elif line.startswith("#"):
            level = len(line) - len(line.lstrip("#"))
            yield f"<h{level}>{_inline(line[level:].strip())}</h{level}>"
        elif line.startswith("|"):
            end = _while(lines, end, lambda each: each.startswith("|"))
            yield from _table(lines[at:end])
        elif _LIST.match(line):
            end = _while(lines, end, lambda each: bool(each.strip()) and not each.startswith(("#", "|", "```")))
            yield from _list(lines[at:end])
        elif line.strip():
            end = _while(lines, end, lambda each: bool(each.strip()) and not each.startswith(("#", "|", "- ", "```")))
            yield f"<p>{_inline(' '.join(lines[at:end]))}</p>"
        at = end


def _while(lines: list[str], at: int, holds: object) -> int:
    assert callable(holds)
    while at < len(lines) and holds(lines[at]):
        at += 1
    return at


def _table(lines: list[str]) -> Iterator[str]:
    rows = [_CELLS.split(line.strip())[1:-1] for line in lines if not _RULE.fullmatch(line.strip())]
    has_head = len(lines) > 1 and _RULE.fullmatch(lines[1].strip()) is not None
    yield '<div class="wide" tabindex="0" role="group" aria-label="Table"><table>'
    if has_head:
        cells = "".join(_head(cell.strip()) for cell in rows.pop(0))
        yield f"<thead><tr>{cells}</tr></thead>"
    yield "<tbody>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{_inline(cell.strip())}</td>" for cell in row) + "</tr>"
    yield "</tbody></table></div>"


def _head(cell: str) -> str:
    """A heading of a column; one that says nothing is none."""
    return f'<th scope="col">{_inline(cell)}</th>' if cell else "<td></td>"


def _list(lines: list[str]) -> Iterator[str]:
    items: list[str] = []
    for line in lines:
        found = _LIST.match(line)
        if found:
            items.append(found[2])
        else:
            items[-1] += f" {line.strip()}"
    yield "<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>"


def _inline(text: str) -> str:
    made = str(escape(text.replace("\\|", "|")))
    made = _ANCHOR.sub(r'<span id="\1"></span>', made)
    made = _LINK.sub(r'<a href="\2">\1</a>', made)
    made = _CODE.sub(r"<code>\1</code>", made)
    made = _BOLD.sub(r"<strong>\1</strong>", made)
    return _ITALIC.sub(r"<em>\1</em>", made)
