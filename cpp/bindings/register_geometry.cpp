// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "bindings/arrays.h"
#include "bindings/register.h"

#include "geometry/SensitiveSurfaces.h"

#include <pybind11/stl.h>

#include <ctime>
#include <limits>

namespace py = pybind11;

namespace ddcalogen {

namespace {

using Triple = std::array<double, 3>;

Vec3 vec(const Triple& t) { return {t[0], t[1], t[2]}; }
Triple triple(const Vec3& v) { return {v.x, v.y, v.z}; }

void require_plane(const SensitiveSurfaces& surfaces, std::size_t plane) {
  if (plane >= surfaces.plane_count())
    throw Error(ErrorKind::Geometry, "plane index out of range", std::to_string(plane),
                "0.." + std::to_string(surfaces.plane_count()));
}

DetectorTable make_table(std::string name, std::string readout, std::string encoding, Segmentation segmentation,
                         std::vector<HitCollection> collections, const Array<double>& rotations,
                         std::vector<Solid> solids, const Array<std::uint64_t>& volume_id,
                         const Array<std::uint32_t>& rotation, const Array<std::uint32_t>& solid,
                         const Array<double>& translation_mm) {
  if (rotations.ndim() != 3 || rotations.shape(1) != 3 || rotations.shape(2) != 3)
    throw Error(ErrorKind::Input, "array 'rotations' has the wrong shape", {}, "(R, 3, 3)");
  require_shape(volume_id, "volume_id", {-1});
  require_shape(rotation, "rotation", {-1});
  require_shape(solid, "solid", {-1});
  require_shape(translation_mm, "translation_mm", {-1, 3});
  DetectorTable table;
  table.name = std::move(name);
  table.readout = std::move(readout);
  table.encoding = std::move(encoding);
  table.segmentation = std::move(segmentation);
  table.hit_collections = std::move(collections);
  table.solids = std::move(solids);
  for (py::ssize_t i = 0; i < rotations.shape(0); ++i)
    std::copy_n(rotations.data(i, 0, 0), 9, table.rotations.emplace_back().begin());
  table.volume_id.assign(volume_id.data(), volume_id.data() + volume_id.size());
  table.rotation.assign(rotation.data(), rotation.data() + rotation.size());
  table.solid.assign(solid.data(), solid.data() + solid.size());
  for (py::ssize_t i = 0; i < translation_mm.shape(0); ++i)
    table.translation_mm.push_back({translation_mm.at(i, 0), translation_mm.at(i, 1), translation_mm.at(i, 2)});
  return table;
}

Array<std::uint64_t> locate(const SensitiveSurfaces& surfaces, const Array<double>& position_mm,
                            const std::optional<std::string>& detector) {
  require_shape(position_mm, "position_mm", {-1, 3});
  const std::int64_t only = detector ? std::int64_t{surfaces.detector_index(*detector)} : -1;
  Array<std::uint64_t> cells(position_mm.shape(0));
  const double* p = position_mm.data();
  CellID* out = cells.mutable_data();
  const auto n = static_cast<std::size_t>(position_mm.shape(0));
  py::gil_scoped_release unlocked;
  for (std::size_t i = 0; i < n; ++i) {
    const Vec3 point{p[3 * i], p[3 * i + 1], p[3 * i + 2]};
    out[i] = only < 0 ? surfaces.locate(point) : surfaces.locate(point, static_cast<std::uint32_t>(only));
  }
  return cells;
}

Array<std::uint64_t> locate_in_plane(const SensitiveSurfaces& surfaces, const Array<std::uint32_t>& plane,
                                     const Array<double>& uv_mm) {
  require_shape(uv_mm, "uv_mm", {-1, 2});
  const bool one = plane.ndim() == 0;
  if (!one) {
    require_shape(plane, "plane", {-1});
    if (plane.shape(0) != uv_mm.shape(0))
      throw Error(ErrorKind::Input, "arrays 'plane' and 'uv_mm' have different length",
                  std::to_string(plane.shape(0)) + " and " + std::to_string(uv_mm.shape(0)));
  }
  const std::uint32_t* planes = plane.data();
  for (py::ssize_t i = 0; i < plane.size(); ++i)
    require_plane(surfaces, planes[i]);
  Array<std::uint64_t> cells(uv_mm.shape(0));
  const double* uv = uv_mm.data();
  CellID* out = cells.mutable_data();
  const auto n = static_cast<std::size_t>(uv_mm.shape(0));
  py::gil_scoped_release unlocked;
  for (std::size_t i = 0; i < n; ++i)
    out[i] = surfaces.locate_in_plane(planes[one ? 0 : i], uv[2 * i], uv[2 * i + 1]);
  return cells;
}

Array<double> cell_centres(const SensitiveSurfaces& surfaces, const Array<std::uint64_t>& cell_id) {
  require_shape(cell_id, "cell_id", {-1});
  Array<double> centres({cell_id.shape(0), py::ssize_t{3}});
  const CellID* cells = cell_id.data();
  double* out = centres.mutable_data();
  const auto n = static_cast<std::size_t>(cell_id.shape(0));
  py::gil_scoped_release unlocked;
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  for (std::size_t i = 0; i < n; ++i) {
    Vec3 centre;
    if (!surfaces.cell_centre(cells[i], centre))
      centre = {nan, nan, nan};
    out[3 * i] = centre.x;
    out[3 * i + 1] = centre.y;
    out[3 * i + 2] = centre.z;
  }
  return centres;
}

template <class Out, class Function> Array<Out> map_cells(const Array<std::uint64_t>& cell_id, Function&& function) {
  require_shape(cell_id, "cell_id", {-1});
  Array<Out> result(cell_id.shape(0));
  const CellID* cells = cell_id.data();
  Out* out = result.mutable_data();
  const auto n = static_cast<std::size_t>(cell_id.shape(0));
  py::gil_scoped_release unlocked;
  for (std::size_t i = 0; i < n; ++i)
    out[i] = static_cast<Out>(function(cells[i]));
  return result;
}

/// [low, high] of u and v of the cell that holds each point, and its cellID; zeros where there is none.
py::tuple rectangles_in_plane(const SensitiveSurfaces& surfaces, std::size_t plane, const Array<double>& uv_mm) {
  require_shape(uv_mm, "uv_mm", {-1, 2});
  require_plane(surfaces, plane);
  const auto n = static_cast<std::size_t>(uv_mm.shape(0));
  Array<std::uint64_t> cells(uv_mm.shape(0));
  Array<double> edges({uv_mm.shape(0), py::ssize_t{4}});
  const double* uv = uv_mm.data();
  CellID* out = cells.mutable_data();
  double* edge = edges.mutable_data();
  {
    py::gil_scoped_release unlocked;
    for (std::size_t i = 0; i < n; ++i) {
      CellRectangle r;
      surfaces.locate_in_plane(plane, uv[2 * i], uv[2 * i + 1], r);
      out[i] = r.cell;
      edge[4 * i] = r.u_low_mm;
      edge[4 * i + 1] = r.u_high_mm;
      edge[4 * i + 2] = r.v_low_mm;
      edge[4 * i + 3] = r.v_high_mm;
    }
  }
  return py::make_tuple(cells, edges);
}

/// Processor time of this thread: what a core needs, also on a busy machine.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Seconds for one pass over the points; the sum of cellIDs keeps the compiler from dropping the work.
py::tuple time_locate_in_plane(const SensitiveSurfaces& surfaces, const Array<std::uint32_t>& plane,
                               const Array<double>& uv_mm) {
  require_shape(uv_mm, "uv_mm", {-1, 2});
  require_shape(plane, "plane", {-1});
  if (plane.shape(0) != uv_mm.shape(0))
    throw Error(ErrorKind::Input, "arrays 'plane' and 'uv_mm' have different length");
  for (py::ssize_t i = 0; i < plane.size(); ++i)
    require_plane(surfaces, plane.at(i));
  const std::uint32_t* planes = plane.data();
  const double* uv = uv_mm.data();
  const auto n = static_cast<std::size_t>(plane.size());
  CellID sum = 0;
  double seconds = 0.;
  {
    py::gil_scoped_release unlocked;
    const double start = thread_seconds();
    for (std::size_t i = 0; i < n; ++i)
      sum += surfaces.locate_in_plane(planes[i], uv[2 * i], uv[2 * i + 1]);
    seconds = thread_seconds() - start;
  }
  return py::make_tuple(seconds, sum);
}

Solid half_spaces(const std::vector<Triple>& normals, std::vector<double> distances_mm) {
  std::vector<Vec3> n;
  for (const Triple& normal : normals)
    n.push_back(vec(normal));
  return Solid::half_spaces(std::move(n), std::move(distances_mm));
}

} // namespace

void register_geometry(py::module_& m) {
  py::class_<CellIDEncoding>(m, "CellIDEncoding",
                             "Bit fields of a cellID: 'name:width' or 'name:offset:width' joined by commas, a negative "
                             "width being a signed field. Raises GeometryError for a malformed text, an unknown field "
                             "or a value that does not fit.")
      .def(py::init<std::string_view>(), py::arg("description"))
      .def("get", &CellIDEncoding::get, py::arg("cell_id"), py::arg("field"))
      .def("set", &CellIDEncoding::set, py::arg("cell_id"), py::arg("field"), py::arg("value"),
           "The cellID with one field replaced.")
      .def(
          "decode",
          [](const CellIDEncoding& e, CellID cell) {
            py::dict values;
            for (const auto& [name, value] : e.decode(cell))
              values[py::str(name)] = value;
            return values;
          },
          py::arg("cell_id"), "All fields, in order, as a dict.")
      .def(
          "encode",
          [](const CellIDEncoding& e, const std::map<std::string, std::int64_t>& values) {
            CellID cell = 0;
            for (const auto& [name, value] : values)
              cell = e.set(cell, name, value);
            return cell;
          },
          py::arg("values"), "The cellID with these fields; the others are 0.")
      .def(
          "get_array",
          [](const CellIDEncoding& e, const Array<std::uint64_t>& cells, std::string_view name) {
            const BitField& field = e.field(name);
            return map_cells<std::int64_t>(cells, [&](CellID cell) { return field.get(cell); });
          },
          py::arg("cell_id"), py::arg("field"), "Field of many cellIDs: uint64 [N] -> int64 [N].")
      .def_property_readonly(
          "fields",
          [](const CellIDEncoding& e) {
            std::vector<std::tuple<std::string, unsigned, unsigned, bool>> fields;
            for (const BitField& f : e.fields())
              fields.emplace_back(f.name, f.offset, f.width, f.is_signed);
            return fields;
          },
          "List of (name, offset, width, is_signed).")
      .def_property_readonly("text", &CellIDEncoding::text)
      .def_property_readonly("canonical", &CellIDEncoding::canonical)
      .def("__str__", &CellIDEncoding::text);

  py::class_<Solid>(m, "Solid", "Shape of a sensitive volume in its own frame; lengths in mm.")
      .def_static(
          "box", [](const Triple& half, const Triple& centre) { return Solid::box(vec(half), vec(centre)); },
          py::arg("half_mm"), py::arg("centre_mm") = Triple{})
      .def_static("tube", &Solid::tube, py::arg("r_min_mm"), py::arg("r_max_mm"), py::arg("half_z_mm"))
      .def_static("half_spaces", &half_spaces, py::arg("normals"), py::arg("distances_mm"))
      .def_static("prism", &Solid::prism, py::arg("x_mm"), py::arg("y_mm"), py::arg("z_low_mm"), py::arg("z_high_mm"))
      .def_static("unite", &Solid::unite, py::arg("left"), py::arg("right"))
      .def_static("intersect", &Solid::intersect, py::arg("left"), py::arg("right"))
      .def_static("subtract", &Solid::subtract, py::arg("left"), py::arg("right"))
      .def_static(
          "placed",
          [](const Solid& solid, const Matrix3& rotation, const Triple& translation) {
            return Solid::placed(solid, rotation, vec(translation));
          },
          py::arg("solid"), py::arg("rotation"), py::arg("translation_mm"))
      .def_property_readonly("bounds_mm",
                             [](const Solid& s) { return std::pair(triple(s.bounds().low), triple(s.bounds().high)); })
      .def("contains", [](const Solid& s, const Triple& p) { return s.outside(vec(p)) <= 0.; }, py::arg("point_mm"));

  py::class_<CartesianGridXY>(m, "CartesianGridXY")
      .def(py::init([](std::string x, std::string y, double sx, double sy, double ox, double oy) {
             return CartesianGridXY{{std::move(x), std::move(y)}, sx, sy, ox, oy};
           }),
           py::kw_only(), py::arg("field_x"), py::arg("field_y"), py::arg("size_x_mm"), py::arg("size_y_mm"),
           py::arg("offset_x_mm"), py::arg("offset_y_mm"));
  py::class_<MegatileLayerGridXY>(m, "MegatileLayerGridXY")
      .def(py::init([](std::string x, std::string y, std::string layer, std::string wafer,
                       const std::array<double, 4>& common,
                       const std::vector<std::tuple<int, int, double, double, double, double>>& special) {
             MegatileLayerGridXY grid{{std::move(x), std::move(y)},
                                      std::move(layer),
                                      std::move(wafer),
                                      {common[0], common[1], common[2], common[3]},
                                      {}};
             for (const auto& [l, w, sx, sy, ox, oy] : special)
               grid.special.push_back({l, w, {sx, sy, ox, oy}});
             return grid;
           }),
           py::kw_only(), py::arg("field_x"), py::arg("field_y"), py::arg("layer_field"), py::arg("wafer_field"),
           py::arg("common"), py::arg("special"),
           "Tiles are (size_x_mm, size_y_mm, offset_x_mm, offset_y_mm) of their cells and corner; special ones have "
           "layer "
           "and wafer (-1: all) in front.");
  py::class_<TiledLayerGridXY>(m, "TiledLayerGridXY")
      .def(py::init([](std::string x, std::string y, std::string layer, double sx, double sy, double ox, double oy,
                       std::vector<double> layer_offset_x, std::vector<double> boundary, std::vector<double> edge) {
             return TiledLayerGridXY{
                 {std::move(x), std::move(y)}, std::move(layer), sx, sy, ox, oy, std::move(layer_offset_x),
                 std::move(boundary),          std::move(edge)};
           }),
           py::kw_only(), py::arg("field_x"), py::arg("field_y"), py::arg("layer_field"), py::arg("size_x_mm"),
           py::arg("size_y_mm"), py::arg("offset_x_mm"), py::arg("offset_y_mm"), py::arg("layer_offset_x"),
           py::arg("boundary_x_mm"), py::arg("edge_size_x_mm"));
  py::class_<PolarGridRPhi>(m, "PolarGridRPhi")
      .def(py::init(
               [](std::string r, std::string phi, double size_r, double size_phi, double offset_r, double offset_phi) {
                 return PolarGridRPhi{{std::move(r), std::move(phi)}, size_r, size_phi, offset_r, offset_phi};
               }),
           py::kw_only(), py::arg("field_r"), py::arg("field_phi"), py::arg("size_r_mm"), py::arg("size_phi_rad"),
           py::arg("offset_r_mm"), py::arg("offset_phi_rad"));
  py::class_<Segmentation>(m, "Segmentation",
                           "Grids of a readout: entries (key_low, key_high, grid), chosen by the key field.")
      .def(py::init([](std::string key_field,
                       const std::vector<std::tuple<std::int64_t, std::int64_t, GridSegmentation>>& entries) {
             Segmentation segmentation{std::move(key_field), {}};
             for (const auto& [low, high, grid] : entries)
               segmentation.entries.push_back({low, high, grid});
             return segmentation;
           }),
           py::arg("key_field"), py::arg("entries"));

  py::class_<HitCollection>(m, "HitCollection")
      .def(py::init([](std::string name, std::string key_field, std::int64_t low, std::int64_t high) {
             return HitCollection{std::move(name), std::move(key_field), low, high};
           }),
           py::arg("name"), py::arg("key_field") = "", py::arg("key_low") = 0, py::arg("key_high") = 0)
      .def_readonly("name", &HitCollection::name)
      .def_readonly("key_field", &HitCollection::key_field)
      .def_readonly("key_low", &HitCollection::key_low)
      .def_readonly("key_high", &HitCollection::key_high)
      .def_property_readonly(
          "technology", [](const HitCollection& c) { return c.key_field.empty() ? std::int64_t{-1} : c.key_low; },
          "Value of the key field, -1 if there is none.");

  py::class_<DetectorTable>(m, "DetectorTable", "Plain description of one detector, from which surfaces are built.")
      .def(py::init(&make_table), py::kw_only(), py::arg("name"), py::arg("readout"), py::arg("encoding"),
           py::arg("segmentation"), py::arg("hit_collections"), py::arg("rotations"), py::arg("solids"),
           py::arg("volume_id"), py::arg("rotation"), py::arg("solid"), py::arg("translation_mm"));

  py::class_<DetectorInfo>(m, "DetectorInfo")
      .def_readonly("name", &DetectorInfo::name)
      .def_readonly("readout", &DetectorInfo::readout)
      .def_readonly("encoding", &DetectorInfo::encoding)
      .def_readonly("technology_field", &DetectorInfo::technology_field)
      .def_readonly("hit_collections", &DetectorInfo::hit_collections);

  py::class_<Plane>(m, "Plane", "Coplanar sensitive volumes of one detector, layer and technology; lengths in mm.")
      .def_readonly("detector", &Plane::detector)
      .def_readonly("layer", &Plane::layer)
      .def_readonly("technology", &Plane::technology)
      .def_property_readonly("normal", [](const Plane& p) { return triple(p.normal); })
      .def_property_readonly("u_axis", [](const Plane& p) { return triple(p.u_axis); })
      .def_property_readonly("v_axis", [](const Plane& p) { return triple(p.v_axis); })
      .def_readonly("offset_mm", &Plane::offset_mm)
      .def_readonly("half_thickness_mm", &Plane::half_thickness_mm)
      .def_readonly("u_min_mm", &Plane::u_min_mm)
      .def_readonly("u_max_mm", &Plane::u_max_mm)
      .def_readonly("v_min_mm", &Plane::v_min_mm)
      .def_readonly("v_max_mm", &Plane::v_max_mm)
      .def_readonly("first_volume", &Plane::first_volume)
      .def_readonly("volume_count", &Plane::volume_count);

  py::class_<SensitiveVolume>(m, "SensitiveVolume")
      .def_readonly("volume_id", &SensitiveVolume::volume_id)
      .def_readonly("plane", &SensitiveVolume::plane)
      .def_readonly("u_low_mm", &SensitiveVolume::u_low_mm)
      .def_readonly("u_high_mm", &SensitiveVolume::u_high_mm)
      .def_readonly("v_low_mm", &SensitiveVolume::v_low_mm)
      .def_readonly("v_high_mm", &SensitiveVolume::v_high_mm)
      .def_readonly("is_box", &SensitiveVolume::is_box);

  py::class_<SensitiveSurfaces, std::shared_ptr<SensitiveSurfaces>>(
      m, "SensitiveSurfaces",
      "Immutable table of every sensitive plane; positions to cells and back exactly as DD4hep does. Thread-safe.")
      .def(py::init([](const std::vector<DetectorTable>& tables) {
             py::gil_scoped_release unlocked;
             return std::make_shared<SensitiveSurfaces>(tables);
           }),
           py::arg("tables"))
      .def_property_readonly("detectors", &SensitiveSurfaces::detectors)
      .def("detector_index", &SensitiveSurfaces::detector_index, py::arg("name"))
      .def_property_readonly("plane_count", &SensitiveSurfaces::plane_count)
      .def_property_readonly("volume_count", &SensitiveSurfaces::volume_count)
      .def_property_readonly("planes", &SensitiveSurfaces::planes)
      .def(
          "plane",
          [](const SensitiveSurfaces& s, std::size_t i) {
            require_plane(s, i);
            return s.plane(i);
          },
          py::arg("index"))
      .def("volume", &SensitiveSurfaces::volume, py::arg("index"))
      .def(
          "volumes_in",
          [](const SensitiveSurfaces& s, std::size_t plane, double u_low, double u_high, double v_low, double v_high) {
            require_plane(s, plane);
            return s.volumes_in(plane, u_low, u_high, v_low, v_high);
          },
          py::arg("plane"), py::arg("u_low_mm"), py::arg("u_high_mm"), py::arg("v_low_mm"), py::arg("v_high_mm"))
      .def("locate", &locate, py::arg("position_mm"), py::arg("detector") = py::none(),
           "Cells that contain the points: float64 [N,3] mm -> uint64 [N], 0 where there is no sensitive volume.")
      .def("locate_in_plane", &locate_in_plane, py::arg("plane"), py::arg("uv_mm"),
           "Cells of mid-plane points: plane index (one or [N]), float64 [N,2] mm -> uint64 [N].")
      .def("rectangles_in_plane", &rectangles_in_plane, py::arg("plane"), py::arg("uv_mm"),
           "As locate_in_plane, with the cell's rectangle: (uint64 [N], float64 [N,4] = u_low, u_high, v_low, v_high).")
      .def("cell_centres", &cell_centres, py::arg("cell_id"),
           "Nominal centres: uint64 [N] -> float64 [N,3] mm, NaN for an unknown volume.")
      .def(
          "exists",
          [](const SensitiveSurfaces& s, const Array<std::uint64_t>& cells) {
            return map_cells<bool>(cells, [&](CellID cell) { return s.exists(cell); });
          },
          py::arg("cell_id"), "Whether the detector has these cells: uint64 [N] -> bool [N].")
      .def(
          "detector_of",
          [](const SensitiveSurfaces& s, const Array<std::uint64_t>& cells) {
            return map_cells<std::int32_t>(cells, [&](CellID cell) { return s.detector_of(cell); });
          },
          py::arg("cell_id"), "Index of the detector, -1 if none: uint64 [N] -> int32 [N].")
      .def(
          "collection_of",
          [](const SensitiveSurfaces& s, const Array<std::uint64_t>& cells) {
            return map_cells<std::int32_t>(cells, [&](CellID cell) { return s.collection_of(cell); });
          },
          py::arg("cell_id"), "Index of the hit collection within its detector, -1 if none: uint64 [N] -> int32 [N].")
      .def(
          "plane_of",
          [](const SensitiveSurfaces& s, const Array<std::uint64_t>& cells) {
            return map_cells<std::int64_t>(cells, [&](CellID cell) { return s.plane_of(cell); });
          },
          py::arg("cell_id"), "Index of the plane, -1 if none: uint64 [N] -> int64 [N].")
      .def(
          "cell_rectangle",
          [](const SensitiveSurfaces& s, CellID cell) -> py::object {
            std::uint32_t plane = 0;
            CellRectangle r;
            if (!s.cell_rectangle(cell, plane, r))
              return py::none();
            return py::make_tuple(plane, r.u_low_mm, r.u_high_mm, r.v_low_mm, r.v_high_mm);
          },
          py::arg("cell_id"), "(plane, u_low, u_high, v_low, v_high) in mm, or None if there is no such cell.")
      .def("neighbours", &SensitiveSurfaces::neighbours, py::arg("cell_id"),
           "Cells that share an edge within the same sensitive volume.")
      .def("time_locate_in_plane", &time_locate_in_plane, py::arg("plane"), py::arg("uv_mm"),
           "(seconds of processor time, checksum) of one pass over mid-plane points: uint32 [N], float64 [N,2] mm.")
      .def_property_readonly("memory_bytes", &SensitiveSurfaces::memory_bytes);
}

} // namespace ddcalogen
