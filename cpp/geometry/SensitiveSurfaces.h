// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/Vec3.h"
#include "geometry/CellIDEncoding.h"
#include "geometry/Segmentation.h"
#include "geometry/Solid.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ddcalogen {

/// A hit collection of a readout takes the cells whose key field has a value in [key_low, key_high]; with an empty
/// key field it takes all.
struct HitCollection {
  std::string name;
  std::string key_field;
  std::int64_t key_low = 0, key_high = 0;
};

/// Everything that describes one detector, as plain arrays: one row for each sensitive placed volume.
struct DetectorTable {
  std::string name;
  std::string readout;
  std::string encoding;
  Segmentation segmentation;
  std::vector<HitCollection> hit_collections;
  std::vector<Matrix3> rotations; ///< distinct local-to-world rotations
  std::vector<Solid> solids;      ///< distinct shapes, in the volume's frame
  std::vector<CellID> volume_id;  ///< all identifiers of the placement path, cell indices 0
  std::vector<std::uint32_t> rotation;
  std::vector<std::uint32_t> solid;
  std::vector<Vec3> translation_mm;
};

struct DetectorInfo {
  std::string name;
  std::string readout;
  CellIDEncoding encoding;
  std::string technology_field; ///< key field of the MultiSegmentation, empty if none
  std::vector<HitCollection> hit_collections;
};

/// All sensitive volumes of one detector that lie in one plane, with the same layer, technology and thickness, and
/// sides parallel to the same two axes.
struct Plane {
  std::uint32_t detector = 0;
  std::int32_t layer = -1;      ///< value of the detector's layer field, -1 if it has none
  std::int32_t technology = -1; ///< value of the MultiSegmentation key field, -1 if none
  Vec3 normal;                  ///< unit, pointing outward (increasing depth)
  Vec3 u_axis, v_axis;          ///< u x v = normal; barrel: u ~ -z, endcap: v ~ y, as in the shower frame
  double offset_mm = 0.;        ///< normal . p of the mid-plane, >= 0
  double half_thickness_mm = 0.;
  double u_min_mm = 0., u_max_mm = 0., v_min_mm = 0., v_max_mm = 0.; ///< bounding rectangle of the volumes
  std::uint32_t first_volume = 0, volume_count = 0;
};

/// A sensitive volume in its plane.
struct SensitiveVolume {
  CellID volume_id = 0;
  std::uint32_t plane = 0;
  double u_low_mm = 0., u_high_mm = 0., v_low_mm = 0., v_high_mm = 0.;
  bool is_box = true; ///< false: the rectangle is only the bounding box of the shape
};

/// A cell and the part of its plane that belongs to it.
struct CellRectangle {
  CellID cell = 0; ///< 0: none
  std::uint32_t volume = 0;
  /// Clipped to the bounding rectangle of the volume; of a polar cell the bounding box.
  double u_low_mm = 0., u_high_mm = 0., v_low_mm = 0., v_high_mm = 0.;
};

/// Immutable table of every sensitive plane of a set of detectors; positions to cells and back with the semantics of
/// DD4hep (CellIDPositionConverter). All members are const and thread-safe.
class SensitiveSurfaces {
public:
  /// @throws Error (Geometry) if the tables are inconsistent or a volume is not planar.
  explicit SensitiveSurfaces(const std::vector<DetectorTable>& tables);

  const std::vector<DetectorInfo>& detectors() const { return m_detectors; }
  /// Index of the detector of that name. @throws Error (Geometry) if there is none.
  std::uint32_t detector_index(std::string_view name) const;

  std::size_t plane_count() const { return m_planes.size(); }
  const Plane& plane(std::size_t i) const { return m_planes[i]; }
  const std::vector<Plane>& planes() const { return m_planes; }
  std::size_t volume_count() const { return m_volumes.size(); }
  SensitiveVolume volume(std::size_t i) const;
  /// Volumes of a plane whose rectangle touches the given one.
  std::vector<std::uint32_t> volumes_in(std::size_t plane, double u_low, double u_high, double v_low,
                                        double v_high) const;

  /// Cell that contains the point; 0 if it lies in no sensitive volume (or is not finite).
  CellID locate(const Vec3& p) const;
  CellID locate(const Vec3& p, std::uint32_t detector) const;
  /// The same for a point of the mid-plane, u = u_axis . p, v = v_axis . p. The hot path.
  CellID locate_in_plane(std::size_t plane, double u_mm, double v_mm) const;
  /// The same with the rectangle of the cell; false (and cell 0) if there is none.
  bool locate_in_plane(std::size_t plane, double u_mm, double v_mm, CellRectangle& result) const;

  /// Nominal centre of the cell as DD4hep gives it; false if there is no such sensitive volume. The centre of an edge
  /// cell that is cut by its volume can lie on or outside the edge of the volume.
  bool cell_centre(CellID cell, Vec3& centre_mm) const;
  /// True if the detector has sensitive material with this cellID.
  bool exists(CellID cell) const;
  /// Rectangle of a cell in its plane; false if the cell does not exist.
  bool cell_rectangle(CellID cell, std::uint32_t& plane, CellRectangle& result) const;
  /// Cells that share an edge, within the same sensitive volume.
  std::vector<CellID> neighbours(CellID cell) const;

  /// Index of the detector that has this cell's volume, or -1.
  int detector_of(CellID cell) const;
  /// Index into the hit collections of that detector, or -1.
  int collection_of(CellID cell) const;
  /// Index of the plane that has this cell's volume, or -1.
  std::int64_t plane_of(CellID cell) const;

  std::size_t memory_bytes() const;

private:
  struct Volume {  // 32 bytes: two in a cache line
    double u0, v0; // local origin in plane coordinates
    CellID volume_id;
    std::uint32_t shape_and_frame; // frame: low 4 bits
    std::uint32_t grid;
  };
  struct Shape {
    double x_centre, y_centre, z_centre, x_half, y_half, z_half;
    std::int32_t solid; // -1: box
  };
  /// Signed permutation from plane axes to volume axes: x = xu u + xv v, y = yu u + yv v, z = zn w.
  struct Frame {
    double xu, xv, yu, yv, zn;
  };
  static constexpr std::uint32_t none = ~std::uint32_t{0};
  struct Bin {
    std::uint32_t first;  // the volume that covers most of the bin, or none
    std::uint32_t others; // where the list of the others begins, or none
  };
  struct PlaneIndex { // one cache line
    double u_min, u_max, v_min, v_max, bins_per_u, bins_per_v;
    std::uint32_t bins_u, bins_v;
    std::uint64_t first_bin;
  };
  struct NormalGroup { // planes with the same normal, sorted by lower surface
    Vec3 normal;
    double thickest = 0.;
    std::vector<double> lower, upper;
    std::vector<std::uint32_t> plane;
  };
  struct DetectorLookup { // open addressing: volume identifier -> volume + 1
    CellID cell_mask = 0;
    CellID system_mask = 0, system_value = 0;
    std::vector<std::uint32_t> slots;
    unsigned shift = 0;
  };

  void to_local(const Volume& volume, double u, double v, double& x, double& y) const;
  bool contains(const Volume& volume, double x, double y, double z_from_mid) const;
  template <class Accept> bool for_candidates(std::size_t plane, double u, double v, Accept&& accept) const;
  CellID locate_any(const Vec3& p, std::int64_t detector) const;
  std::int64_t find_volume(CellID cell) const;
  std::int64_t find_volume(std::size_t detector, CellID cell) const;
  /// Clips the cell to its volume; false if nothing is left of it.
  bool rectangle(std::uint32_t volume, std::int64_t ix, std::int64_t iy, CellRectangle& result) const;
  bool sector_has_material(const Volume& volume, std::int64_t ix, std::int64_t iy) const;
  void bounds_in_plane(const Volume& volume, double& u_low, double& u_high, double& v_low, double& v_high) const;
  void build_bins();
  void build_lookup();

  std::vector<DetectorInfo> m_detectors;
  std::vector<Plane> m_planes;
  std::vector<PlaneIndex> m_index;
  std::vector<Bin> m_bins;
  std::vector<std::uint32_t> m_others; // lists of volumes, each ended by `none`
  std::vector<Volume> m_volumes;       // by plane
  std::vector<std::uint32_t> m_volume_plane;
  std::vector<Shape> m_shapes;
  std::vector<Solid> m_solids;
  std::vector<Frame> m_frames;
  std::vector<Grid> m_grids;
  std::vector<NormalGroup> m_normals;
  std::vector<DetectorLookup> m_lookup;
};

} // namespace ddcalogen
