# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers as JSON, and one HTML file with everything in it that opens without a network."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ddcalogen.files import replace_when_complete
from ddcalogen.validation.metrics import Value
from ddcalogen.validation.study import Figure

__all__ = ["Section", "figures_table", "table", "write_html", "write_json"]

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Helvetica Neue", Arial, sans-serif; color: #222; margin: 0; background: #fff; }
main { max-width: 1180px; margin: 0 auto; padding: 24px 28px 60px; }
h1 { font-size: 26px; margin: 8px 0 2px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 38px 0 8px; border-bottom: 2px solid #d55e00; padding-bottom: 4px; }
h3 { font-size: 15px; margin: 14px 0 4px; }
p.lead { color: #444; margin: 0 0 12px; max-width: 900px; overflow-wrap: break-word; }
nav { font-size: 14px; margin: 12px 0; } nav a { display: inline-block; margin-right: 16px; color: #005a8c; }
table { border-collapse: collapse; font-size: 13.5px; margin: 8px 0 18px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 3px 9px 3px 6px; border-bottom: 1px solid #e4e4e4; vertical-align: top; }
th { background: #f4f4f4; vertical-align: bottom; } td.n, th.n { text-align: right; } td.n { white-space: nowrap; }
td:first-child { min-width: 9em; } td:not(.n) { overflow-wrap: anywhere; }
td.good { background: #e3f0fa; } td.fair { background: #fff3d1; } td.bad { background: #fbdccb; }
td.good::before { content: "✓ "; color: #005a8c; } td.fair::before { content: "≈ "; color: #806000; }
td.bad::before { content: "✗ "; color: #a33c00; }
td.seen { font-weight: 600; } .scroll { overflow-x: auto; } code { background: #f4f4f4; padding: 1px 4px;
overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); gap: 16px 24px; }
figure { margin: 0; } figure.wide { grid-column: 1 / -1; } figure img { width: 100%; max-width: 572px; height: auto;
display: block; } figure.wide img { max-width: 1110px; } figcaption { font-size: 13px; color: #444; max-width: 560px; }
.wide figcaption { max-width: 1000px; }
@media (max-width: 700px) { main { padding: 14px 14px 40px; } h1 { font-size: 21px; }
  td:first-child, th:first-child { position: sticky; left: 0; background: #fff; border-right: 1px solid #ccc;
  min-width: 7em; max-width: 38vw; white-space: normal; } th:first-child { background: #f4f4f4; } }
@media print { @page { margin: 14mm 12mm; } body { font-size: 10pt; } main { max-width: none; padding: 0; }
  nav { display: none; } h2, h3 { break-after: avoid; } figure, tr { break-inside: avoid; } thead { display:
  table-header-group; } table { font-size: 7.5pt; } th, td { padding: 2px 5px 2px 2px; }
  .scroll { overflow: visible; } .figures { grid-template-columns: 1fr 1fr; gap: 4mm 6mm; } figcaption, p.lead {
  max-width: none; } td { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


@dataclasses.dataclass
class Section:
    """One section: title, text, tables as HTML, pictures as (path, caption)."""

    title: str
    text: str = ""
    tables: list[str] = dataclasses.field(default_factory=list)
    pictures: list[tuple[Path, str]] = dataclasses.field(default_factory=list)


def _text(content: Any) -> str:
    """A number that does not exist is a dash."""
    number = content.value if isinstance(content, Value) else content
    if isinstance(number, float) and math.isnan(number):
        return "–"
    return str(content)


_NUMBER = re.compile(r"-?[\d.]+( ± [\d.]+)?")


def _is_number(content: Any) -> bool:
    return content == "" or isinstance(content, (int, float, Value)) or bool(_NUMBER.fullmatch(str(content)))


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as HTML; a cell may be (text, class). Columns of numbers, and their titles, stand to the right."""
    cells = [[c if isinstance(c, tuple) else (c, "") for c in row] for row in rows]
    right = [bool(cells) and all(_is_number(row[i][0]) or row[i][1] for row in cells) for i in range(len(head))]
    names = "".join(f"<th{_class('n' * r)}>{html.escape(h)}</th>" for h, r in zip(head, right, strict=True))
    body = ""
    for row in cells:
        body += "<tr>"
        for (content, kind), r in zip(row, right, strict=True):
            body += f"<td{_class(('n ' * r + kind).strip())}>{html.escape(_text(content))}</td>"
        body += "</tr>"
    return f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>'


def figures_table(figures: Iterable[Figure], columns: Sequence[tuple[str, str]]) -> str:
    """Figures of one kind: model coloured by its distance from Geant4, controls bold where a figure finds them.

    `columns` are (sample, title), the model first.
    """
    rows = []
    for f in figures:
        row: list[Any] = [f.name + (f" ({f.unit})" if f.unit else "")]
        if f.kind == "quantity":
            row.append(f.values["reference"])
        for key, _ in columns:
            if key not in f.values:
                row.append("")
                continue
            pull = f.pull(key)
            size = abs(pull) if f.kind == "quantity" else pull
            kind = ""
            if key == "model" and math.isfinite(size):
                kind = "good" if size < 2 else "fair" if size < 5 else "bad"
            elif key not in ("geant4", "model") and math.isfinite(size) and size > 3:
                kind = "seen"
            row.append((f.values[key], kind))
        rows.append(row)
    quantity = any(f.kind == "quantity" for f in figures) if isinstance(figures, list) else False
    head = ["figure", *(["Geant4"] if quantity else []), *(title for _, title in columns)]
    return table(head, rows)


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write numbers as JSON; a number that does not exist is null."""

    def clean(x: Any) -> Any:
        if dataclasses.is_dataclass(x) and not isinstance(x, type):
            return clean(dataclasses.asdict(x))
        if isinstance(x, dict):
            return {str(k): clean(v) for k, v in x.items()}
        if isinstance(x, (list, tuple)):
            return [clean(v) for v in x]
        if isinstance(x, float):
            return x if math.isfinite(x) else None
        return x if x is None or isinstance(x, (bool, int, str)) else float(x)

    with replace_when_complete(path) as partial:
        partial.write_text(json.dumps(clean(content), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _is_wide(png: bytes) -> bool:
    """Whether a picture is too wide for half a page: more than one and a half times as wide as it is high."""
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    return width > 1.5 * height


def write_html(title: str, lead: str, sections: Sequence[Section], path: Path) -> None:
    """Write the report: one file, pictures inside."""
    links, body = [], []
    for number, section in enumerate(sections):
        links.append(f'<a href="#s{number}">{html.escape(section.title)}</a>')
        body.append(f'<h2 id="s{number}">{html.escape(section.title)}</h2>')
        if section.text:
            body.append(f'<p class="lead">{section.text}</p>')
        body += section.tables
        body.append('<div class="figures">' if section.pictures else "")
        for picture, caption in section.pictures:
            content = picture.read_bytes()
            data = base64.b64encode(content).decode()
            wide = ' class="wide"' if _is_wide(content) else ""
            body.append(
                f'<figure{wide}><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
                f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            )
        body.append("</div>" if section.pictures else "")
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
        f'<h1>{html.escape(title)}</h1><p class="lead">{lead}</p><nav>{"".join(links)}</nav>{"".join(body)}'
        "</main></body></html>\n"
    )
    with replace_when_complete(path) as partial:
        partial.write_text(page, encoding="utf-8")
