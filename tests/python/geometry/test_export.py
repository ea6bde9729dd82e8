# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Export from DD4hep. The real exports need DD4hep and k4geo and run in processes of their own."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ddcalogen import _core
from ddcalogen.errors import ConfigurationError, GeometryError
from ddcalogen.geometry import Geometry, description, export_dd4hep, load_snapshot
from ddcalogen.geometry import dd4hep_export as export

HAVE_DD4HEP = importlib.util.find_spec("dd4hep") is not None
K4GEO = os.environ.get("K4GEO")
needs_k4geo = pytest.mark.skipif(
    not (HAVE_DD4HEP and K4GEO),
    reason="needs the DD4hep Python bindings and k4geo (K4GEO), as in a Key4hep environment",
)
ILD = "ILD/compact/ILD_l5_o1_v02/ILD_l5_o1_v02.xml"
CLD = "FCCee/CLD/compact/CLD_o2_v07/CLD_o2_v07.xml"
ILD_DETECTORS = ["EcalBarrel", "EcalEndcap", "EcalPlug", "HcalBarrel", "HcalEndcap", "HcalRing", "Lcal"]


def run(code: str) -> str:
    """Runs Python in a process of its own (DD4hep holds one detector a process); returns its last line."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dict(os.environ), timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1]


def exported(compact: str, detectors: list[str] | None, out: Path) -> Geometry:
    assert K4GEO is not None
    file = str(Path(K4GEO) / compact)
    run(
        "from ddcalogen.geometry import export_dd4hep, save_snapshot\n"
        f"save_snapshot(export_dd4hep({file!r}, detectors={detectors!r}), {str(out)!r})\nprint('done')"
    )
    return load_snapshot(out)


@needs_k4geo
@pytest.mark.parametrize(
    ("compact", "detectors", "shipped"), [(ILD, ILD_DETECTORS, "ILD_l5_o1_v02"), (CLD, None, "CLD_o2_v07")]
)
def test_export_reproduces_the_shipped_snapshot(
    compact: str, detectors: list[str] | None, shipped: str, tmp_path: Path
) -> None:
    new, old = exported(compact, detectors, tmp_path / "new.h5"), load_snapshot(shipped)
    assert new.name == old.name
    assert new.field == old.field
    assert new.faces == old.faces
    for a, b in zip(new.detectors, old.detectors, strict=True):
        assert (a.name, a.readout, a.encoding, a.hit_collections) == (b.name, b.readout, b.encoding, b.hit_collections)
        assert np.array_equal(a.volume_id, b.volume_id)
        assert np.abs(a.translation_mm - b.translation_mm).max() < 1e-9
        assert np.abs(a.rotations[a.rotation] - b.rotations[b.rotation]).max() < 1e-12
        assert list(numbers(a.segmentation)) == pytest.approx(list(numbers(b.segmentation)), abs=1e-9)
        assert list(numbers(a.solids)) == pytest.approx(list(numbers(b.solids)), abs=1e-9)


@needs_k4geo
def test_unsupported_segmentation_is_named() -> None:
    assert K4GEO is not None
    answer = run(
        "from ddcalogen.errors import GeometryError\nfrom ddcalogen.geometry import export_dd4hep\n"
        f"try:\n    export_dd4hep({str(Path(K4GEO) / ILD)!r}, detectors=['BeamCal'])\n"
        "except GeometryError as error:\n    print(str(error).replace(chr(10), ' '))"
    )
    assert "unsupported segmentation" in answer
    assert "PolarGridRPhi2" in answer


@pytest.mark.skipif(HAVE_DD4HEP, reason="DD4hep is installed here")
def test_without_dd4hep(tmp_path: Path) -> None:
    compact = tmp_path / "detector.xml"
    compact.write_text("<lccdd/>")
    with pytest.raises(ConfigurationError, match="DD4hep Python bindings"):
        export_dd4hep(compact)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="no such compact file"):
        export_dd4hep(tmp_path / "nothing.xml")
    with pytest.raises(GeometryError, match="no compact file was given"):
        export_dd4hep([])


def numbers(spec: Any) -> Any:
    if isinstance(spec, dict):
        for key in sorted(spec):
            yield from numbers(spec[key])
    elif isinstance(spec, list | tuple):
        for item in spec:
            yield from numbers(item)
    elif isinstance(spec, int | float):
        yield float(spec)


# ---- solids without DD4hep: stand-ins that answer like TGeo shapes (lengths in cm) --------------------------------


class Shape:
    """Answers to the getters of a TGeo shape."""

    def __init__(self, kind: str, **values: Any) -> None:
        self.kind, self.values = kind, values

    def ClassName(self) -> str:  # noqa: N802
        return self.kind

    def __getattr__(self, name: str) -> Any:
        value = self.values[name.removeprefix("Get")]
        return (lambda i: value[i]) if isinstance(value, list) else (lambda: value)


def solid(shape: Shape) -> _core.Solid:
    return description._solid(export._solid(shape))


def matrix(translation: tuple[float, float, float], angle_rad: float = 0.0) -> Shape:
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return Shape(
        "TGeoCombiTrans",
        RotationMatrix=np.array([c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0]),
        Translation=np.array(translation, dtype=float),
    )


def box(dx: float, dy: float, dz: float, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Shape:
    return Shape("TGeoBBox", DX=dx, DY=dy, DZ=dz, Origin=np.array(origin, dtype=float))


def octagon(r_min: float, r_max: float) -> Shape:
    return Shape("TGeoPgon", Nz=2, Nedges=8, Phi1=22.5, Dphi=360.0, Z=[-1.0, 1.0], Rmin=[r_min] * 2, Rmax=[r_max] * 2)


def test_box_and_tube() -> None:
    low, high = solid(box(1, 2, 3, (1, 0, 0))).bounds_mm
    assert (*low, *high) == (0.0, -20.0, -30.0, 20.0, 20.0, 30.0)
    half = solid(Shape("TGeoTubeSeg", Rmin=1.0, Rmax=2.0, Dz=1.0, Phi1=0.0, Phi2=180.0))
    assert half.contains((0, 15, 0))
    assert not half.contains((0, -15, 0))
    most = solid(Shape("TGeoTubeSeg", Rmin=1.0, Rmax=2.0, Dz=1.0, Phi1=0.0, Phi2=270.0))
    assert most.contains((-15, -1, 0))
    assert not most.contains((1, -15, 0))


def test_polyhedron() -> None:
    ring = solid(octagon(20.0, 30.0))
    assert ring.contains((299.9, 0, 9.9))
    assert not ring.contains((300.1, 0, 0))
    assert not ring.contains((199.9, 0, 0))
    corner = 300 / math.cos(math.pi / 8)
    assert ring.contains(tuple(0.9999 * corner * f for f in (math.cos(math.pi / 8), math.sin(math.pi / 8), 0)))
    cone = solid(
        Shape("TGeoPgon", Nz=2, Nedges=4, Phi1=45.0, Dphi=360.0, Z=[0.0, 1.0], Rmin=[0.0] * 2, Rmax=[1.0, 2.0])
    )
    assert cone.contains((14.9, 0, 5))
    assert not cone.contains((15.1, 0, 5))
    steps = solid(
        Shape("TGeoPcon", Nz=4, Phi1=0.0, Dphi=360.0, Z=[0.0, 1.0, 1.0, 2.0], Rmin=[0.0] * 4, Rmax=[1.0, 1.0, 3.0, 3.0])
    )
    assert steps.contains((25, 0, 15))
    assert not steps.contains((25, 0, 5))


def test_trapezoids() -> None:
    trd = solid(Shape("TGeoTrd2", Dx1=1.0, Dx2=2.0, Dy1=1.0, Dy2=1.0, Dz=1.0))
    assert trd.contains((19.9, 0, 9.9))
    assert not trd.contains((14.9, 0, -9.9))
    corners = np.array([-1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1], dtype=float)
    cube = solid(Shape("TGeoTrap", Vertices=corners, Dz=1.0))
    assert cube.contains((9.9, 9.9, 9.9))
    assert not cube.contains((10.1, 0, 0))
    twisted = corners.copy()
    twisted[8:] = [-1, 0.2, -0.2, 1, 1, -0.2, 0.2, -1]
    with pytest.raises(GeometryError, match="twisted"):
        solid(Shape("TGeoArb8", Vertices=twisted, Dz=1.0))


def test_extruded_polygon() -> None:
    arrow = Shape(
        "TGeoXtru", Nz=2, Nvert=4, X=[0.0, 1.0, 0.0, 0.3], Y=[-1.0, 0.0, 1.0, 0.0], Z=[-1.0, 1.0], Scale=[1.0, 1.0],
        XOffset=[0.0, 0.0], YOffset=[0.0, 0.0],
    )  # fmt: skip
    assert solid(arrow).contains((5, 0, 0))
    assert not solid(arrow).contains((2, 0, 0))


def test_boolean_of_turned_and_moved_parts() -> None:
    node = Shape(
        "TGeoSubtraction",
        LeftShape=box(10.0, 10.0, 1.0),
        LeftMatrix=matrix((0, 0, 0)),
        RightShape=box(5.0, 0.1, 2.0),
        RightMatrix=matrix((1.0, 0.0, 0.0), math.pi / 2),
    )
    plate = solid(Shape("TGeoCompositeShape", BoolNode=node))
    assert not plate.contains((10, 49, 0))
    assert plate.contains((12, 49, 0))
    assert plate.contains((10, 51, 0))


def test_unsupported_shapes_are_named() -> None:
    with pytest.raises(GeometryError, match="TGeoEltu"):
        solid(Shape("TGeoEltu"))
    with pytest.raises(GeometryError, match="cone"):
        solid(Shape("TGeoPcon", Nz=2, Phi1=0.0, Dphi=360.0, Z=[0.0, 1.0], Rmin=[0.0] * 2, Rmax=[1.0, 2.0]))
    with pytest.raises(GeometryError, match="TGeoXtru"):
        solid(Shape("TGeoXtru", Nz=3))
