// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "geometry/CellIDEncoding.h"

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace ddcalogen {

/// Names of the two cellID fields that hold the cell indices.
struct CellFields {
  std::string x;
  std::string y;
};

/// DD4hep CartesianGridXY: index = floor((x + size/2 - offset) / size).
struct CartesianGridXY {
  CellFields fields;
  double size_x_mm = 0., size_y_mm = 0., offset_x_mm = 0., offset_y_mm = 0.;
};

/// A megatile: size of its cells and position of its corner.
struct Megatile {
  double size_x_mm = 0., size_y_mm = 0., offset_x_mm = 0., offset_y_mm = 0.;
};

/// DD4hep MegatileLayerGridXY: index = int((x - offset) / size), truncated towards zero. Special tiles replace the
/// common one for given values of the layer and wafer fields, whatever the other fields are.
struct MegatileLayerGridXY {
  static constexpr int any_wafer = -1;
  struct Special {
    int layer = 0, wafer = any_wafer;
    Megatile tile;
  };
  CellFields fields;
  std::string layer_field, wafer_field;
  Megatile common;
  std::vector<Special> special;
};

/// DD4hep TiledLayerGridXY: a Cartesian grid shifted by half a tile in some layers (layer field counts from 1), whose
/// outermost tiles in x are wider or narrower: beyond boundary - edge the centre is put at boundary - edge / 2.
struct TiledLayerGridXY {
  CellFields fields;
  std::string layer_field;
  double size_x_mm = 0., size_y_mm = 0., offset_x_mm = 0., offset_y_mm = 0.;
  std::vector<double> layer_offset_x; ///< in units of half a tile
  std::vector<double> boundary_x_mm;  ///< half length of each layer
  std::vector<double> edge_size_x_mm; ///< width of the outermost tile of each layer
};

/// DD4hep PolarGridRPhi: both indices as in CartesianGridXY, of r and of the azimuth in (-pi, pi].
struct PolarGridRPhi {
  CellFields fields; ///< x: r, y: azimuth
  double size_r_mm = 0., size_phi_rad = 0., offset_r_mm = 0., offset_phi_rad = 0.;
};

using GridSegmentation = std::variant<CartesianGridXY, MegatileLayerGridXY, TiledLayerGridXY, PolarGridRPhi>;

/// Segmentation of a readout; with a key field, DD4hep's MultiSegmentation (the first entry whose range holds the
/// value of that field), else one entry whose range is not looked at.
struct Segmentation {
  struct Entry {
    std::int64_t key_low = 0, key_high = 0;
    GridSegmentation grid;
  };
  std::string key_field;
  std::vector<Entry> entries;
};

/// One of the two coordinates of a grid (mm, or rad for an azimuth), with everything resolved for a given volume.
struct GridAxis {
  double size = 1.;
  double offset = 0.;
  double edge_limit = std::numeric_limits<double>::infinity(); ///< centres beyond are moved to edge_centre
  double edge_centre = 0.;
  std::int32_t index_low = 0, index_high = 0; ///< what the bit field can hold
  std::uint32_t shift = 0;
  bool from_corner = false; ///< truncation from a corner (megatile) instead of floor around centres

  bool operator==(const GridAxis&) const = default;

  /// The arithmetic of DD4hep, operation by operation, so that rounding agrees.
  std::int32_t index(double x) const {
    if (from_corner)
      return static_cast<std::int32_t>((x - offset) / size);
    return static_cast<std::int32_t>(std::floor((x + 0.5 * size - offset) / size));
  }
  double centre(std::int64_t i) const {
    if (from_corner)
      return (static_cast<double>(i) + 0.5) * size + offset;
    const double x = static_cast<double>(i) * size + offset;
    return std::abs(x) > edge_limit ? std::copysign(edge_centre, x) : x;
  }
  /// Lower and upper edge of the region whose points have this index.
  std::pair<double, double> edges(std::int64_t i) const {
    const double d = static_cast<double>(i);
    if (!from_corner)
      return {(d - 0.5) * size + offset, (d + 0.5) * size + offset};
    // int() truncates: index 0 takes both sides of the corner, negative ones reach up to their own multiple.
    return {(i > 0 ? d : d - 1.) * size + offset, (i < 0 ? d : d + 1.) * size + offset};
  }
};

/// Rectangle in the frame of a volume, mm.
struct LocalRectangle {
  double x_low = 0., x_high = 0., y_low = 0., y_high = 0.;
};

struct Grid {
  GridAxis x, y; ///< polar: r and azimuth
  CellID x_mask = 0, y_mask = 0;
  CellID clear_mask = 0; ///< bits of the two index fields
  bool polar = false;

  bool operator==(const Grid&) const = default;

  /// Indices of the point (px, py) in the frame of a volume.
  std::pair<std::int32_t, std::int32_t> indices(double px, double py) const {
    if (polar) [[unlikely]]
      return {x.index(std::sqrt(px * px + py * py)), y.index(std::atan2(py, px))};
    return {x.index(px), y.index(py)};
  }
  /// CellID of the point (px, py) in the frame of a volume; 0 if an index does not fit into its field.
  CellID cell(CellID volume_id, double px, double py) const {
    const auto [ix, iy] = indices(px, py);
    if (ix < x.index_low || ix > x.index_high || iy < y.index_low || iy > y.index_high)
      return 0;
    return compose(volume_id, ix, iy);
  }
  CellID compose(CellID volume_id, std::int32_t ix, std::int32_t iy) const {
    const CellID bits = (static_cast<CellID>(static_cast<std::int64_t>(ix)) << x.shift & x_mask) |
                        (static_cast<CellID>(static_cast<std::int64_t>(iy)) << y.shift & y_mask);
    return (volume_id & ~clear_mask) | bits;
  }
  /// The two indices in a cellID.
  std::pair<std::int64_t, std::int64_t> decode(CellID cell) const;
  /// Nominal centre of a cell in the frame of its volume.
  std::pair<double, double> centre(CellID cell) const;
  /// The cell, or for a polar grid the bounding box of its ring sector.
  LocalRectangle rectangle(std::int64_t ix, std::int64_t iy) const;
};

/// Which entry of a segmentation a volume uses; the resolved grid follows from the layer and wafer of the volume.
/// @throws Error (Geometry) if no entry holds the value of the key field.
std::size_t entry_of(const Segmentation& segmentation, const CellIDEncoding& encoding, CellID volume_id);

/// Resolves the grid of one entry for a volume.
Grid resolve_grid(const GridSegmentation& segmentation, const CellIDEncoding& encoding, CellID volume_id);

/// The bits of a volume identifier that select the grid of one entry (its layer and wafer fields).
CellID grid_selector_mask(const GridSegmentation& segmentation, const CellIDEncoding& encoding);

/// @throws Error (Geometry) for parameters that make no grid (sizes <= 0, unknown fields, fields wider than 32 bits).
void validate(const Segmentation& segmentation, const CellIDEncoding& encoding, const std::string& readout);

} // namespace ddcalogen
