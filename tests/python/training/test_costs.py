# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The table of costs: counts against hand calculation, never a time."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from ddcalogen.training.costs import Cost, write_table


def test_table(tmp_path: Path) -> None:
    write_table([Cost("a", "thing", 1234, 56, 2.5e9, 10.0, None, 3)], tmp_path / "t.md")
    text = (tmp_path / "t.md").read_text()
    assert "| a | thing | 1,234 | 56 | 2.5 | 10 | closed form |" in text
