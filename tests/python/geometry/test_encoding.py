# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""cellID bit fields."""

from __future__ import annotations

import numpy as np
import pytest
from ddcalogen.errors import GeometryError
from ddcalogen.geometry import CellIDEncoding, Geometry
from hypothesis import given
from hypothesis import strategies as st

ECAL = CellIDEncoding("system:5,module:3,stave:4,tower:4,layer:6,wafer:6,slice:4,cellX:32:-16,cellY:-16")


def limits(width: int, signed: bool) -> tuple[int, int]:
    return (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)


@given(st.fixed_dictionaries({name: st.integers(*limits(width, signed)) for name, _, width, signed in ECAL.fields}))
def test_round_trip(values: dict[str, int]) -> None:
    cell = ECAL.encode(values)
    assert ECAL.decode(cell) == values
    assert all(ECAL.get(cell, name) == value for name, value in values.items())


@given(st.integers(0, 2**64 - 1))
def test_decoding_loses_nothing(cell: int) -> None:
    assert ECAL.encode(ECAL.decode(cell)) == cell


@given(st.text(max_size=40))
def test_any_text_is_an_encoding_or_an_error(text: str) -> None:
    try:
        encoding = CellIDEncoding(text)
    except GeometryError:
        return
    assert CellIDEncoding(encoding.canonical).fields == encoding.fields


def test_bit_positions() -> None:
    assert {name: (offset, width) for name, offset, width, _ in ECAL.fields} == {
        "system": (0, 5), "module": (5, 3), "stave": (8, 4), "tower": (12, 4), "layer": (16, 6), "wafer": (22, 6),
        "slice": (28, 4), "cellX": (32, 16), "cellY": (48, 16),
    }  # fmt: skip
    assert ECAL.encode({"cellX": -1}) == 0xFFFF << 32


def test_arrays(ild: Geometry) -> None:
    detector = ild.detector("HcalBarrel")
    encoding = CellIDEncoding(detector.encoding)
    tower = encoding.get_array(detector.volume_id, "tower")
    assert set(np.unique(tower)) == {1, 31}
    assert set(np.unique(encoding.get_array(detector.volume_id, "layer"))) == set(range(1, 49))


@pytest.mark.parametrize(("field", "value"), [("tower", 16), ("tower", -1), ("cellX", 1 << 15), ("row", 0)], ids=str)
def test_values_that_do_not_fit(field: str, value: int) -> None:
    with pytest.raises(GeometryError, match=field):
        ECAL.set(0, field, value)
