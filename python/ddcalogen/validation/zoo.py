# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The table of all models, docs/zoo.md."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

from ddcalogen import __version__
from ddcalogen.card import read_card
from ddcalogen.errors import InputError
from ddcalogen.files import replace_when_complete
from ddcalogen.models import shipped_models
from ddcalogen.training.data import ShowerFile
from ddcalogen.validation.published import PUBLISHED, PUBLISHED_TIMES
from ddcalogen.validation.run import Result, headline

__all__ = ["fitting_models", "write_zoo"]


def fitting_models(files: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Shipped models that are made for a particle of the files, and for the calorimeter these have.

    Raises
    ------
    InputError
        A file cannot be read, or no model fits.
    """
    fitting = []
    for path in shipped_models().values():
        card = read_card(path)
        try:
            particles = {int(p) for f in files for p in ShowerFile(f, card.calorimeter.name.lower()).pdg}
        except InputError:
            continue
        if particles & set(card.domain.pdg):
            fitting.append(path)
    if not fitting:
        raise InputError(
            "no shipped model fits the data",
            found=", ".join(map(str, files)),
            expected="showers of a particle and calorimeter of: " + (", ".join(shipped_models()) or "no models found"),
        )
    return fitting


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += [
        "| " + " | ".join(cell.replace("|Δ", "\\|Δ").replace("n|", "n\\|") for cell in row) + " |" for row in rows
    ]
    return "\n".join(lines)


def write_zoo(results: Sequence[Result], path: Path) -> None:
    """Write the table of models beside Geant4 and the published figures.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    heads = [headline(r) for r in results]
    names = [name for name, _, _ in heads[0]]
    rows = []
    for name in names:
        found = [{n: (m, g) for n, m, g in head}.get(name) for head in heads]
        geant4 = next(str(f[1]) for f in found if f is not None)
        rows.append([name, geant4, *(str(f[0]) if f is not None else "" for f in found)])
    for batch in results[0].milliseconds:
        times = [f"{r.milliseconds[batch]:.2f}" for r in results]
        rows.append([f"CPU ms per shower, one thread, batch {batch}", "see below", *times])
    first = results[0]
    files = " ".join(f"--data {name}" for name in first.files)
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    models = "\n".join(
        f"- **{r.generator.card.name}** {r.generator.card.version} (hash {r.generator.hash[:12]}): "
        f"{r.generator.card.description}"
        for r in results
    )
    text = f"""# Models and how good they are

Written by ddcalogen {__version__} on {today}; do not edit, run it again:

```sh
ddcalogen validate --all {files} --showers {first.settings.showers} --seed {first.settings.seed}
```

{models}

Measured on: {first.conditions}.

Distances (AUC, W1, correlations, FPD) compare with Geant4 showers that no model was fitted to; the column Geant4 is
what a second Geant4 sample of the same size gets. Means and the peak are compared with Geant4's own. Methods:
[validation](validation.md). Time: noise and network, one CPU thread.

{_markdown(["figure", "Geant4", *(r.generator.card.name for r in results)], rows)}

## Published figures of other models

Other Geant4 samples, sizes and cells: for orientation only.

{_markdown(["model", "figure", "value", "source"], PUBLISHED)}

Time, milliseconds per photon shower:

{_markdown(["system", "machine", "ms", "source"], PUBLISHED_TIMES)}
"""
    with replace_when_complete(path) as partial:
        partial.write_text(text, encoding="utf-8")
