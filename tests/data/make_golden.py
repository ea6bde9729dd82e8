# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files of the geometry tests.

python make_golden.py dd4hep COMPACT_FILE SNAPSHOT OUT   points put into DD4hep's CellIDPositionConverter; needs DD4hep
python make_golden.py subset GOLDEN_FILE SNAPSHOT OUT    a small part of a large golden file, with every trap in it

A golden file has a group for each detector: position_mm [N,3], cell_id [N] (0: no sensitive volume), cell_centre_mm
[N,3] (where cell_id is 0: NaN).
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
from ddcalogen.geometry import CellIDEncoding, Geometry, load_snapshot
from ddcalogen.geometry.dd4hep_export import _import_dd4hep
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_CONVERTER = """
#include "DDRec/CellIDPositionConverter.h"
namespace ddcalogen_golden {
  void run(dd4hep::Detector& description, std::size_t n, const double* p_mm, std::uint64_t* cell, double* centre_mm) {
    dd4hep::rec::CellIDPositionConverter converter(description);
    for (std::size_t i = 0; i < n; ++i) {
      cell[i] = converter.cellID({p_mm[3 * i] / 10., p_mm[3 * i + 1] / 10., p_mm[3 * i + 2] / 10.});
      if (cell[i] == 0)
        continue;
      const dd4hep::Position c = converter.position(cell[i]);
      centre_mm[3 * i] = c.x() * 10.;
      centre_mm[3 * i + 1] = c.y() * 10.;
      centre_mm[3 * i + 2] = c.z() * 10.;
    }
  }
}
"""


def sample(geometry: Geometry, detector: str, n: int, generator: np.random.Generator) -> Floats:
    """Points round the sensitive planes: a third anywhere, a third near edges of volumes, a third in depth, too."""
    surfaces = geometry.surfaces
    number = surfaces.detector_index(detector)
    planes = [p for p in surfaces.planes if p.detector == number]
    points = []
    for i in range(n):
        plane = planes[generator.integers(len(planes))]
        volume = surfaces.volume(plane.first_volume + int(generator.integers(plane.volume_count)))
        u = generator.uniform(volume.u_low_mm - 1.0, volume.u_high_mm + 1.0)
        v = generator.uniform(volume.v_low_mm - 1.0, volume.v_high_mm + 1.0)
        w = plane.offset_mm + plane.half_thickness_mm * generator.uniform(-1.0, 1.0)
        if i % 3 == 1:
            edge = generator.integers(4)
            near = generator.uniform(-0.02, 0.02)
            if edge < 2:
                u = (volume.u_low_mm, volume.u_high_mm)[edge] + near
            else:
                v = (volume.v_low_mm, volume.v_high_mm)[edge - 2] + near
        elif i % 3 == 2:
            w = plane.offset_mm + plane.half_thickness_mm * generator.uniform(-3.0, 3.0)
        points.append(u * np.array(plane.u_axis) + v * np.array(plane.v_axis) + w * np.array(plane.normal))
    return np.array(points)


def write(file: h5py.File, name: str, position: Floats, cell: NDArray[np.uint64], centre: Floats) -> None:
    group = file.create_group(name)
    group.create_dataset("position_mm", data=position)
    group.create_dataset("cell_id", data=cell)
    group.create_dataset("cell_centre_mm", data=centre, compression="gzip", compression_opts=9, shuffle=True)


def from_dd4hep(compact: str, snapshot: str, out: str, per_detector: int = 700) -> None:
    _import_dd4hep()
    import cppyy
    import ROOT

    ROOT.gInterpreter.Declare(_CONVERTER)
    description = cppyy.gbl.dd4hep.Detector.getInstance()
    description.fromXML(compact)
    geometry = load_snapshot(snapshot)
    generator = np.random.default_rng(20260101)
    with h5py.File(out, "w") as file:
        file.attrs["source"] = f"DD4hep {cppyy.gbl.dd4hep.versionString()}, {Path(compact).name}"
        for detector in geometry.detectors:
            position = sample(geometry, detector.name, per_detector, generator)
            cell = np.zeros(len(position), np.uint64)
            centre = np.full_like(position, np.nan)
            cppyy.gbl.ddcalogen_golden.run(description, len(position), position, cell, centre)
            # Drop what lies in detectors that the snapshot leaves out (muon system).
            known = (cell == 0) | (geometry.surfaces.detector_of(cell) >= 0)
            position, cell, centre = position[known], cell[known], centre[known]
            write(file, detector.name, position, cell, centre)
            print(detector.name, len(cell), "points,", int((cell != 0).sum()), "in cells")


def subset(golden: str, snapshot: str, out: str, per_class: int = 12) -> None:
    """A few points of every class: readout, technology, layer range, wafer or tower, kind of index, dead material."""
    geometry = load_snapshot(snapshot)
    generator = np.random.default_rng(20260102)
    with h5py.File(golden) as source, h5py.File(out, "w") as file:
        file.attrs["source"] = source.attrs["source"]
        for name, group in source.items():
            position, cell = group["position_mm"][()], group["cell_id"][()]
            centre = group["cell_centre_mm"][()]
            centre[cell == 0] = np.nan
            classes: dict[tuple[object, ...], list[int]] = {}
            for i in generator.permutation(len(cell)):
                key = trap_class(geometry, int(cell[i]))
                wanted = 100 if key == ("dead",) else per_class if key[0] == name else 2
                if len(classes.setdefault(key, [])) < wanted:
                    classes[key].append(int(i))
            keep = np.sort(np.concatenate([np.array(rows) for rows in classes.values()]))
            write(file, name, position[keep], cell[keep], centre[keep])
            print(name, len(keep), "points of", len(classes), "classes")


def trap_class(geometry: Geometry, cell: int) -> tuple[object, ...]:
    if cell == 0:
        return ("dead",)
    surfaces = geometry.surfaces
    array = np.array([cell], np.uint64)
    info = surfaces.detectors[int(surfaces.detector_of(array)[0])]
    encoding: CellIDEncoding = info.encoding
    field = encoding.decode(cell)
    result: tuple[object, ...] = (info.name, field.get("slice"))
    if info.name in ("EcalBarrel", "EcalEndcap"):
        rectangle = surfaces.cell_rectangle(cell)
        size = (0.0, 0.0) if rectangle is None else (rectangle[2] - rectangle[1], rectangle[4] - rectangle[3])
        volume = surfaces.volume(next(iter(surfaces.volumes_in(*_middle(rectangle)))))
        magic = min(volume.u_high_mm - volume.u_low_mm, volume.v_high_mm - volume.v_low_mm) < 91.0
        return (*result, magic, field["wafer"] > 26, field["cellX"] in (17, 18), min(size) < 5.0, field["stave"] % 4)
    if info.name == "HcalBarrel":
        return (*result, field["tower"], field["layer"] > 40, abs(field["x"]) > 13, abs(field["y"]) > 36)
    layer = field["layer"] if info.name == "EcalPlug" else field["layer"] % 2
    return (*result, field.get("module"), field.get("stave"), layer)


def _middle(rectangle: tuple[int, float, float, float, float] | None) -> tuple[int, float, float, float, float]:
    assert rectangle is not None
    plane, u_low, u_high, v_low, v_high = rectangle
    u, v = (u_low + u_high) / 2, (v_low + v_high) / 2
    return plane, u, u, v, v


if __name__ == "__main__":
    {"dd4hep": from_dd4hep, "subset": subset}[sys.argv[1]](*sys.argv[2:5])
