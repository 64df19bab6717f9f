"""The pieces of one self-contained HTML page: every word escaped, nothing fetched."""

import base64
import html
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

_MAX_ROWS = 500

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --ink: #1f2328;
  --grey: #57606a; --line: #dde1e6; --soft: #f0f2f5; --link: #0b62b5;
  --good: #006b4f; --good-soft: #dff3ec; --bad: #a33c00; --bad-soft: #fbe7dc; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1115; --card: #1a1a1a;
  --ink: #e6e8eb; --grey: #a0a7b0; --line: #32363c; --soft: #24272c; --link: #7ab8f5;
  --good: #59d3ac; --good-soft: #12342a; --bad: #f5a278; --bad-soft: #3d2317; }
  .plot { filter: invert(.898) hue-rotate(180deg); } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans",
  "Noto Sans CJK SC", sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 56px; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .8rem;
  overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .8rem; }
h3 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
p { margin: 0 0 .7rem; max-width: 74ch; overflow-wrap: anywhere; }
a { color: var(--link); }
.grey, .note { color: var(--grey); }
.note { font-size: .875rem; margin: .5rem 0 0; max-width: 90ch; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 16px 18px; margin: 0 0 16px; min-width: 0; }
.badge { display: inline-block; font-weight: 600; border-radius: 999px;
  padding: .2rem .8rem; background: var(--soft); color: var(--grey); }
.badge.good { background: var(--good-soft); color: var(--good); }
.badge.bad { background: var(--bad-soft); color: var(--bad); }
.parts { list-style: none; margin: .7rem 0 0; padding: 0; }
.parts li { padding: .1rem 0; overflow-wrap: anywhere; }
.parts b { display: inline-block; width: 1.4em; }
.good b { color: var(--good); } .bad b { color: var(--bad); }
.tiles { display: grid; gap: 12px; margin: 16px 0 0;
  grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 10px 14px; min-width: 0; }
.tile div { font-size: .8rem; color: var(--grey); overflow-wrap: anywhere; }
.tile strong { display: block; font-size: 1.3rem; line-height: 1.35; font-weight: 600;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.grid { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); }
.grid { align-items: start; }
.grid .card { margin: 0; }
figure { margin: 0; }
figcaption { font-size: .875rem; color: var(--grey); margin-top: .5rem; }
img { display: block; max-width: 100%; height: auto; }
.plot { width: 100%; }
.picture { background: #fff; border-radius: 4px; }
.scroll { overflow: auto; max-height: 30rem; }
table { border-collapse: collapse; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--grey); white-space: nowrap; }
thead th { position: sticky; top: 0; background: var(--card); }
td { max-width: 34rem; overflow-wrap: break-word; }
td.number, th.number { text-align: right; white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
pre { margin: 0; font: .85rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas,
  "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; }
pre.box { background: var(--soft); border-radius: 6px; padding: 10px 12px;
  max-height: 24rem; overflow: auto; }
.sample { margin: 0 0 12px; } .sample:last-child { margin-bottom: 0; }
.sample .label { font-size: .8rem; color: var(--grey); margin-bottom: .2rem;
  overflow-wrap: anywhere; }
.marked { line-height: 2.1; }
mark { color: inherit; border-radius: 4px; padding: .1rem .15rem;
  background: var(--good-soft); border-bottom: 2px solid var(--good); }
mark.wrong { background: var(--bad-soft); border-bottom-color: var(--bad); }
mark.missed { background: none; border-bottom: 2px dashed var(--bad); }
mark.deep2 { border-bottom-width: 4px; } mark.deep3 { border-bottom-width: 6px; }
.marked small { font-size: .68rem; color: var(--good); margin: 0 .15rem; }
.marked small.wrong, .marked small.missed { color: var(--bad); }
details summary { cursor: pointer; font-weight: 600; }
details[open] summary { margin-bottom: .7rem; }
footer { color: var(--grey); font-size: .85rem; margin-top: 2.4rem; }
@media (max-width: 560px) { main { padding: 18px 12px 36px; } h1 { font-size: 1.4rem; }
  .card { padding: 12px; } .tiles { grid-template-columns: 1fr 1fr; }
  th, td { padding-right: .7rem; } }
@media print { body { background: #fff; } .scroll, pre.box { max-height: none; }
  .card { break-inside: avoid; } }
"""


def page(title: str, body: Sequence[str]) -> str:
    """Returns the whole page; its policy forbids every request and every script."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{words(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def words(text: Any) -> str:
    """Escapes text for HTML, with control characters made visible."""
    return html.escape(visible(str(text)), quote=True)


def visible(text: str) -> str:
    r"""Writes out what would not be seen: a zero byte as ``\x00``, a bell as ``\x07``.

    Line feeds and tabs stay. The joiners of emoji and of Persian stay too; marks that
    turn the direction of text, which can hide what a sample says, and lone surrogates
    do not.

    >>> print(visible("a\x00b\x7f\r."))
    a\x00b\x7f\r.
    """

    def shown(char: str) -> str:
        if char in "\n\t\u200c\u200d":
            return char
        if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            return char.encode("unicode_escape").decode("ascii")
        return char

    return "".join(map(shown, text))


def linked(text: str) -> str:
    """Escapes text and makes a link of each web address in it."""
    parts = re.split(r"(https?://[^\s<>\"',;]*[^\s<>\"',;.:!?)\]])", text)
    return "".join(
        f'<a href="{words(part)}" rel="noreferrer">{words(part)}</a>'
        if i % 2
        else words(part)
        for i, part in enumerate(parts)
    )


def paragraphs(text: str) -> str:
    """Plain text as paragraphs; an empty line parts two, other breaks are spaces."""
    blocks = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
    return "".join(f"<p>{linked(block)}</p>" for block in blocks if block)


def number(value: Any) -> str:
    """A cell in words: 4 digits of a float, all of an integer, – for nothing.

    >>> [number(v) for v in (None, True, 12345, 0.123456, 1.5e-7, float("nan"), "a")]
    ['–', 'yes', '12345', '0.1235', '1.5e-07', 'nan', 'a']
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e6:
            return f"{value:.1f}"
        return f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"
    return str(value)


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> [duration(s) for s in (0.04, 9.26, 75, 3725, 200000)]
    ['0.04 s', '9.3 s', '1 min 15 s', '1 h 02 min', '2 d 07 h']
    """
    if not math.isfinite(seconds):
        return "–"
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02d} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table that scrolls when it is long; past 500 rows it says what is left out."""
    numeric = [
        any(_is_number(row[i]) for row in rows)
        and all(_is_number(row[i]) or row[i] is None for row in rows)
        for i in range(len(columns))
    ]
    kinds = [' class="number"' if n else "" for n in numeric]
    head = "".join(
        f"<th{kind}>{words(name)}</th>"
        for kind, name in zip(kinds, columns, strict=True)
    )
    body = "\n".join(
        "<tr>"
        + "".join(
            f"<td{kind}>{words(number(cell))}</td>"
            for kind, cell in zip(kinds, row, strict=True)
        )
        + "</tr>"
        for row in rows[:_MAX_ROWS]
    )
    more = len(rows) - _MAX_ROWS
    note = f"The first {_MAX_ROWS} of {len(rows)} rows." if more > 0 else ""
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>" + remark(note)
    )


def pairs(values: Mapping[str, Any]) -> str:
    """A table of names and values without a head."""
    rows = "".join(
        f"<tr><th>{words(name)}</th><td>{words(number(value))}</td></tr>"
        for name, value in values.items()
    )
    return (
        f'<div class="scroll" tabindex="0"><table><tbody>{rows}</tbody></table></div>'
    )


def figure(png: bytes, text: str, caption: str = "", kind: str = "plot") -> str:
    """A card with a picture inside the page.

    Args:
      png: the picture; a "plot" has its title in it and is inverted on a dark page.
      text: the title of a "picture", or what those are told who cannot see a "plot".
      caption: stands below.
      kind: "plot" or "picture".
    """
    # The size stands in bytes 16 to 24 of a PNG; two pixels of it make one of the page.
    width, height = (int.from_bytes(png[i : i + 4], "big") // 2 for i in (16, 20))
    data = base64.b64encode(png).decode("ascii")
    below = f"<figcaption>{words(caption)}</figcaption>" if caption else ""
    above = f"<h3>{words(text)}</h3>" if kind == "picture" else ""
    return (
        f'<figure class="card">{above}<img class="{kind}" alt="{words(text)}" '
        f'width="{width}" height="{height}" src="data:image/png;base64,{data}">'
        f"{below}</figure>"
    )


def remark(text: str) -> str:
    """A small grey line, or nothing."""
    return f'<p class="note">{linked(text)}</p>' if text else ""


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)
