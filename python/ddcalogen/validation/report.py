# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers as JSON, and one HTML file with everything in it that opens without a network."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import math
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
h1 { font-size: 26px; margin: 8px 0 2px; } h2 { font-size: 20px; margin: 38px 0 8px; border-bottom: 2px solid #d62728;
padding-bottom: 4px; } p.lead { color: #555; margin: 0 0 12px; max-width: 900px; }
nav { font-size: 14px; margin: 12px 0; } nav a { display: inline-block; margin-right: 16px; color: #b01c1d; }
table { border-collapse: collapse; font-size: 13.5px; margin: 8px 0 18px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 3px 14px 3px 6px; border-bottom: 1px solid #e4e4e4; vertical-align: top; }
th { background: #f4f4f4; position: sticky; top: 0; } td.n { text-align: right; white-space: nowrap; }
td.good { background: #e6f4e6; } td.fair { background: #fff6da; } td.bad { background: #fbe3e1; }
td.seen { font-weight: 600; } .scroll { overflow-x: auto; }
figure { display: inline-block; margin: 6px 12px 14px 0; width: calc(50% - 18px); vertical-align: top; }
figure.wide { width: 100%; max-width: 1040px; } @media (max-width: 800px) { figure { width: 100%; } }
figure img { max-width: 100%; height: auto; display: block; } figcaption { font-size: 13px; color: #555; max-width:
560px; } .wide figcaption { max-width: 1000px; } code { background: #f4f4f4; padding: 1px 4px; }
"""


_WIDE_PIXELS = 800
"""Wider pictures get a line of their own."""


@dataclasses.dataclass
class Section:
    """One section: title, text, tables as HTML, pictures as (path, caption)."""

    title: str
    text: str = ""
    tables: list[str] = dataclasses.field(default_factory=list)
    pictures: list[tuple[Path, str]] = dataclasses.field(default_factory=list)


def _cell(content: Any) -> str:
    if isinstance(content, tuple):
        text, kind = content
        return f'<td class="n {kind}">{html.escape(str(text))}</td>'
    kind = ' class="n"' if isinstance(content, (int, float, Value)) else ""
    return f"<td{kind}>{html.escape(str(content))}</td>"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as HTML; a cell may be (text, class)."""
    lines = "".join("<tr>" + "".join(_cell(c) for c in row) + "</tr>" for row in rows)
    names = "".join(f"<th>{html.escape(h)}</th>" for h in head)
    return f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table></div>'


def figures_table(figures: Iterable[Figure], columns: Sequence[tuple[str, str]]) -> str:
    """Figures of one kind: model coloured by its distance from Geant4, controls bold where a figure finds them.

    `columns` are (sample, title), the model first.
    """
    rows = []
    for f in figures:
        row: list[Any] = [f.name + (f" ({f.unit})" if f.unit else "")]
        if f.kind == "quantity":
            row.append((str(f.values["reference"]), ""))
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
            row.append((str(f.values[key]), kind))
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


def _width(picture: Path) -> int:
    """Width of a PNG file in pixels."""
    with picture.open("rb") as file:
        return int.from_bytes(file.read(24)[16:20], "big")


def write_html(title: str, lead: str, sections: Sequence[Section], path: Path) -> None:
    """Write the report: one file, pictures inside."""
    links, body = [], []
    for number, section in enumerate(sections):
        links.append(f'<a href="#s{number}">{html.escape(section.title)}</a>')
        body.append(f'<h2 id="s{number}">{html.escape(section.title)}</h2>')
        if section.text:
            body.append(f'<p class="lead">{section.text}</p>')
        body += section.tables
        for picture, caption in section.pictures:
            data = base64.b64encode(picture.read_bytes()).decode()
            wide = ' class="wide"' if _width(picture) > _WIDE_PIXELS else ""
            body.append(
                f'<figure{wide}><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
                f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            )
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
        f'<h1>{html.escape(title)}</h1><p class="lead">{lead}</p><nav>{"".join(links)}</nav>{"".join(body)}'
        "</main></body></html>\n"
    )
    with replace_when_complete(path) as partial:
        partial.write_text(page, encoding="utf-8")
