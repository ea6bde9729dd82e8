# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by all Python tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ddcalogen.card import embed_card, save_model
from ddcalogen.geometry import Geometry, load_snapshot
from toys import SHARED_DATA, card_for, constant_spots


@pytest.fixture(scope="session")
def ild() -> Geometry:
    """The shipped ILD geometry."""
    return load_snapshot("ILD_l5_o1_v02")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Data made with the real software; beside the checkout, not part of it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data, made with DD4hep and Geant4, is not beside this checkout")
    return SHARED_DATA


@pytest.fixture
def toy_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a toy model; keywords go to `constant_spots` and, as `card`, to the card."""

    def make(*, card: dict[str, Any] | None = None, **graph: Any) -> Path:
        model = constant_spots(**graph)
        path = tmp_path / f"toy{len(list(tmp_path.glob('toy*.onnx')))}.onnx"
        embed_card(model, card_for(model, **(card or {})))
        save_model(model, path)
        return path

    return make
