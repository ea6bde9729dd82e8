// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "geometry/Segmentation.h"

#include "core/Error.h"

#include <algorithm>

namespace ddcalogen {

namespace {

template <class... Callables> struct Overloaded : Callables... { using Callables::operator()...; };
template <class... Callables> Overloaded(Callables...) -> Overloaded<Callables...>;

GridAxis axis(const BitField& field, double size, double offset, bool from_corner) {
  GridAxis result;
  result.size_mm = size;
  result.offset_mm = offset;
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

} // namespace

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
                        [&](const TiledLayerGridXY& g) {
                          // DD4hep reads the layer as unsigned and counts from 1.
                          const auto layer = static_cast<std::size_t>(encoding.get(volume_id, g.layer_field));
                          grid.x = axis(fx, g.size_x_mm, g.offset_x_mm, false);
                          grid.y = axis(fy, g.size_y_mm, g.offset_y_mm, false);
                          if (layer == 0 || layer > g.layer_offset_x.size())
                            return;
                          grid.x.offset_mm = g.layer_offset_x[layer - 1] * g.size_x_mm / 2.;
                          if (layer <= g.boundary_x_mm.size() && layer <= g.edge_size_x_mm.size()) {
                            grid.x.edge_limit_mm = g.boundary_x_mm[layer - 1] - g.edge_size_x_mm[layer - 1];
                            grid.x.edge_centre_mm = g.boundary_x_mm[layer - 1] - g.edge_size_x_mm[layer - 1] / 2.;
                          }
                        }},
             segmentation);
  return grid;
}

CellID grid_selector_mask(const GridSegmentation& segmentation, const CellIDEncoding& encoding) {
  return std::visit(Overloaded{[](const CartesianGridXY&) { return CellID{0}; },
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
                          check},
               entry.grid);
  }
}

} // namespace ddcalogen
