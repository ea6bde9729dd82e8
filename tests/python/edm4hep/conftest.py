# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of ddcalogen.edm4hep."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ddcalogen.edm4hep import Event, LayoutName, Reader
from edm4hep_samples import RUN_PARAMETERS, SHARED_DATA, random_event, write


@pytest.fixture(scope="session")
def root() -> None:
    """Skips where ROOT is missing."""
    if importlib.util.find_spec("ROOT") is None:
        pytest.skip("ROOT is not installed (extra edm4hep)")


@pytest.fixture(scope="session")
def events() -> list[Event]:
    rng = np.random.default_rng(20260101)
    events = [random_event(rng, number) for number in range(5)]
    return [*events, Event(event_number=5, calorimeter_hits={}, tracker_hits={})]


@pytest.fixture(scope="session", params=["current", "1.2"])
def layout(request: pytest.FixtureRequest) -> LayoutName:
    name: LayoutName = request.param
    return name


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, root: None, layout: LayoutName, events: list[Event]) -> Path:
    """The events in a file of each layout."""
    path = tmp_path_factory.mktemp("edm4hep") / f"{layout}.edm4hep.root"
    return write(path, events, layout=layout, run_parameters=RUN_PARAMETERS, metadata={"generator": "test"})


@pytest.fixture(scope="session", params=[10, 50])
def ddsim_file(request: pytest.FixtureRequest) -> Path:
    """Photons in ILD_l5_v02 by real ddsim, written by podio v01-02 with EDM4hep v00-99-01."""
    path = SHARED_DATA / f"ddsim_ild_l5_v02_gamma_{request.param}GeV.edm4hep.root"
    if not path.exists():
        pytest.skip(f"{path.name} is not there (it lies in shared/data beside the repository)")
    return path


@pytest.fixture
def ddsim(ddsim_file: Path) -> Iterator[Reader]:
    with Reader(ddsim_file) as reader:
        yield reader
