# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of ddcalogen.sources."""

from __future__ import annotations

import pytest
from ddcalogen.geometry import Geometry
from ild_ecal import detector


@pytest.fixture(scope="session")
def ecal() -> Geometry:
    """The ECAL of ILD, faces and field only."""
    return detector()
