// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "geometry/Segmentation.h"

#include "core/Error.h"

#include <algorithm>

namespace ddcalogen {

namespace {

template <class... Callables> struct Overloaded : Callables... {
  using Callables::operator()...;
};
template <class... Callables> Overloaded(Callables...) -> Overloaded<Callables...>;

GridAxis axis(const BitField& field, double size, double offset, bool from_corner) {
  GridAxis result;
  result.size = size;
  result.offset = offset;
  result.from_corner = from_corner;
  result.shift = field.offset;
  result.index_low = static_cast<std::int32_t>(std::max<std::int64_t>(field.minimum(), INT32_MIN));
  result.index_high = static_cast<std::int32_t>(std::min<std::int64_t>(field.maximum(), INT32_MAX));
  return result;
}

const CellFields& fields_of(const GridSegmentation& segmentation) {
  return std::visit([](const auto& grid) -> const CellFields& { return grid.fields; }, segmentation);
}

Megatile tile_of(const MegatileLayerGridXY& grid, std::int64_t layer, std::int64_t wafer) {
  const MegatileLayerGridXY::Special* whole_layer = nullptr;
  for (const MegatileLayerGridXY::Special& special : grid.special) {
    if (special.layer == layer && special.wafer == wafer)
      return special.tile;
    if (special.layer == layer && special.wafer == MegatileLayerGridXY::any_wafer)
      whole_layer = &special;
  }
  return whole_layer ? whole_layer->tile : grid.common;
}

/// True for sizes that make a grid of indices that fit 32 bits, and finite offsets.
bool usable(double size_x, double size_y, double offset_x, double offset_y) {
  return size_x > 1e-3 && size_y > 1e-3 && std::isfinite(size_x) && std::isfinite(size_y) && std::isfinite(offset_x) &&
         std::isfinite(offset_y);
}

std::int64_t index_in(const GridAxis& axis, CellID mask, CellID cell) {
  const CellID raw = (cell & mask) >> axis.shift;
  const CellID sign = axis.index_low < 0 ? ((mask >> axis.shift) + 1) >> 1 : 0;
  return static_cast<std::int64_t>((raw ^ sign) - sign);
}

} // namespace

std::pair<std::int64_t, std::int64_t> Grid::decode(CellID cell) const {
  return {index_in(x, x_mask, cell), index_in(y, y_mask, cell)};
}

std::pair<double, double> Grid::centre(CellID cell) const {
  const auto [ix, iy] = decode(cell);
  const double a = x.centre(ix), b = y.centre(iy);
  return polar ? std::pair{a * std::cos(b), a * std::sin(b)} : std::pair{a, b};
}

LocalRectangle Grid::rectangle(std::int64_t ix, std::int64_t iy) const {
  const auto [x_low, x_high] = x.edges(ix);
  const auto [y_low, y_high] = y.edges(iy);
  if (!polar)
    return {x_low, x_high, y_low, y_high};
  // Corners of the sector, and the points of the outer arc that lie on an axis.
  LocalRectangle box{HUGE_VAL, -HUGE_VAL, HUGE_VAL, -HUGE_VAL};
  const auto add = [&box](double r, double phi) {
    box.x_low = std::min(box.x_low, r * std::cos(phi));
    box.x_high = std::max(box.x_high, r * std::cos(phi));
    box.y_low = std::min(box.y_low, r * std::sin(phi));
    box.y_high = std::max(box.y_high, r * std::sin(phi));
  };
  for (const double phi : {y_low, y_high}) {
    add(std::max(x_low, 0.), phi);
    add(x_high, phi);
  }
  for (double k = std::ceil(y_low / M_PI_2); k * M_PI_2 < y_high; ++k)
    add(x_high, k * M_PI_2);
  return box;
}

std::size_t entry_of(const Segmentation& segmentation, const CellIDEncoding& encoding, CellID volume_id) {
  if (segmentation.key_field.empty())
    return 0;
  const std::int64_t key = encoding.get(volume_id, segmentation.key_field);
  for (std::size_t i = 0; i < segmentation.entries.size(); ++i)
    if (segmentation.entries[i].key_low <= key && key <= segmentation.entries[i].key_high)
      return i;
  throw Error(ErrorKind::Geometry, "a sensitive volume has no sub-segmentation",
              segmentation.key_field + " = " + std::to_string(key), "a key of the MultiSegmentation");
}

Grid resolve_grid(const GridSegmentation& segmentation, const CellIDEncoding& encoding, CellID volume_id) {
  const CellFields& fields = fields_of(segmentation);
  const BitField& fx = encoding.field(fields.x);
  const BitField& fy = encoding.field(fields.y);
  Grid grid;
  grid.x_mask = fx.mask();
  grid.y_mask = fy.mask();
  grid.clear_mask = fx.mask() | fy.mask();
  std::visit(Overloaded{[&](const CartesianGridXY& g) {
                          grid.x = axis(fx, g.size_x_mm, g.offset_x_mm, false);
                          grid.y = axis(fy, g.size_y_mm, g.offset_y_mm, false);
                        },
                        [&](const MegatileLayerGridXY& g) {
                          const Megatile tile = tile_of(g, encoding.get(volume_id, g.layer_field),
                                                        encoding.get(volume_id, g.wafer_field));
                          grid.x = axis(fx, tile.size_x_mm, tile.offset_x_mm, true);
                          grid.y = axis(fy, tile.size_y_mm, tile.offset_y_mm, true);
                        },
                        [&](const PolarGridRPhi& g) {
                          grid.polar = true;
                          grid.x = axis(fx, g.size_r_mm, g.offset_r_mm, false);
                          grid.y = axis(fy, g.size_phi_rad, g.offset_phi_rad, false);
                        },
                        [&](const TiledLayerGridXY& g) {
                          // DD4hep reads the layer as unsigned and counts from 1.
                          const auto layer = static_cast<std::size_t>(encoding.get(volume_id, g.layer_field));
                          grid.x = axis(fx, g.size_x_mm, g.offset_x_mm, false);
                          grid.y = axis(fy, g.size_y_mm, g.offset_y_mm, false);
                          if (layer == 0 || layer > g.layer_offset_x.size())
                            return;
                          grid.x.offset = g.layer_offset_x[layer - 1] * g.size_x_mm / 2.;
                          if (layer <= g.boundary_x_mm.size() && layer <= g.edge_size_x_mm.size()) {
                            grid.x.edge_limit = g.boundary_x_mm[layer - 1] - g.edge_size_x_mm[layer - 1];
                            grid.x.edge_centre = g.boundary_x_mm[layer - 1] - g.edge_size_x_mm[layer - 1] / 2.;
                          }
                        }},
             segmentation);
  return grid;
}

CellID grid_selector_mask(const GridSegmentation& segmentation, const CellIDEncoding& encoding) {
  return std::visit(Overloaded{[](const CartesianGridXY&) { return CellID{0}; },
                               [](const PolarGridRPhi&) { return CellID{0}; },
                               [&](const MegatileLayerGridXY& g) {
                                 return encoding.field(g.layer_field).mask() | encoding.field(g.wafer_field).mask();
                               },
                               [&](const TiledLayerGridXY& g) { return encoding.field(g.layer_field).mask(); }},
                    segmentation);
}

void validate(const Segmentation& segmentation, const CellIDEncoding& encoding, const std::string& readout) {
  const auto fail = [&](const std::string& problem, const std::string& found, const std::string& expected) {
    throw Error(ErrorKind::Geometry, "readout " + readout + ": " + problem, found, expected);
  };
  if (segmentation.entries.empty())
    fail("no segmentation", "none", "at least one grid");
  if (segmentation.key_field.empty() && segmentation.entries.size() > 1)
    fail("several segmentations but no key field", std::to_string(segmentation.entries.size()), "one");
  if (!segmentation.key_field.empty())
    encoding.field(segmentation.key_field);
  for (const Segmentation::Entry& entry : segmentation.entries) {
    const CellFields& fields = fields_of(entry.grid);
    for (const std::string& name : {fields.x, fields.y})
      if (encoding.field(name).width > 32)
        fail("index field '" + name + "' is too wide", std::to_string(encoding.field(name).width) + " bits",
             "at most 32 bits");
    if (fields.x == fields.y)
      fail("both cell indices use the same field", fields.x, "two fields");
    grid_selector_mask(entry.grid, encoding);
    const auto check = [&](const auto& g) {
      if (!usable(g.size_x_mm, g.size_y_mm, g.offset_x_mm, g.offset_y_mm))
        fail("cell size is out of range", std::to_string(g.size_x_mm) + " x " + std::to_string(g.size_y_mm) + " mm",
             "sizes above 0.001 mm and finite offsets");
    };
    std::visit(Overloaded{[&](const MegatileLayerGridXY& g) {
                            check(g.common);
                            for (const auto& special : g.special)
                              check(special.tile);
                          },
                          [&](const PolarGridRPhi& g) {
                            check(Megatile{g.size_r_mm, g.size_phi_rad * 1e3, g.offset_r_mm, g.offset_phi_rad});
                          },
                          check},
               entry.grid);
  }
}

} // namespace ddcalogen
