// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "geometry/SensitiveSurfaces.h"

#include "core/Error.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>

namespace ddcalogen {

namespace {

constexpr double axis_tolerance = 1e-9;     // of direction cosines
constexpr double plane_tolerance_mm = 1e-8; // volumes closer than this lie in one plane
constexpr double bin_margin_mm = 1e-6;      // a volume is listed in all bins it comes this close to
constexpr double overlap_mm = 1e-9;         // a cell exists if it overlaps its volume by more than this

bool finite(const Vec3& p) { return std::isfinite(p.x) && std::isfinite(p.y) && std::isfinite(p.z); }

Vec3 column(const Matrix3& m, int i) {
  const auto k = static_cast<std::size_t>(i);
  return {m[k], m[3 + k], m[6 + k]};
}

bool is_unit_component(double c) { return std::abs(c) < axis_tolerance || std::abs(std::abs(c) - 1.) < axis_tolerance; }

/// Axes shared by planes: normal outward, u and v as in the shower frame.
struct Orientation {
  Vec3 normal, u, v;
};

/// Puts u on that volume axis that comes nearest to the shower frame: barrel local = (-z, phi, r); endcap z > 0 the
/// global axes, z < 0 (-x, y, -z).
Orientation make_orientation(const Vec3& normal, const Vec3& ex, const Vec3& ey) {
  const Vec3 wanted = std::abs(normal.z) < 0.5 ? Vec3{0, 0, -1} : Vec3{normal.z > 0 ? 1. : -1., 0, 0};
  Vec3 best = ex;
  for (const Vec3& candidate : {ex, -ex, ey, -ey})
    if (dot(candidate, wanted) > dot(best, wanted) + axis_tolerance)
      best = candidate;
  return {normal, best, cross(normal, best)};
}

std::uint64_t hash(CellID id) {
  id ^= id >> 31;
  return id * 0x9e3779b97f4a7c15ULL;
}

} // namespace

SensitiveSurfaces::SensitiveSurfaces(const std::vector<DetectorTable>& tables) {
  struct Row {
    Volume volume;
    std::uint32_t plane;
  };
  std::vector<Row> rows;
  std::size_t total = 0;
  for (const DetectorTable& table : tables)
    total += table.volume_id.size();
  if (total >= std::numeric_limits<std::uint32_t>::max())
    throw Error(ErrorKind::Geometry, "too many sensitive volumes", std::to_string(total), "fewer than 2^32");
  rows.reserve(total);

  std::vector<Orientation> orientations;
  for (const DetectorTable& table : tables) {
    const auto detector = static_cast<std::uint32_t>(m_detectors.size());
    const std::string where = "detector " + table.name + ": ";
    const std::size_t n = table.volume_id.size();
    if (table.rotation.size() != n || table.solid.size() != n || table.translation_mm.size() != n)
      throw Error(ErrorKind::Geometry, where + "arrays of different length", std::to_string(table.rotation.size()),
                  std::to_string(n) + " rows in all of them");
    for (const DetectorInfo& other : m_detectors)
      if (other.name == table.name)
        throw Error(ErrorKind::Geometry, "two detectors of the same name", table.name);
    DetectorInfo info{table.name, table.readout, CellIDEncoding(table.encoding), table.segmentation.key_field,
                      table.hit_collections};
    for (const HitCollection& collection : info.hit_collections)
      if (!collection.key_field.empty())
        info.encoding.field(collection.key_field);
    validate(table.segmentation, info.encoding, table.readout);
    m_detectors.push_back(std::move(info));
    const CellIDEncoding& encoding = m_detectors.back().encoding;
    const BitField* layer_field = encoding.find("layer");
    const BitField* key_field = encoding.find(table.segmentation.key_field);
    const BitField* system_field = encoding.find("system");

    const auto first_shape = static_cast<std::uint32_t>(m_shapes.size());
    for (const Solid& solid : table.solids) {
      const Bounds& b = solid.bounds();
      const Vec3 half = 0.5 * (b.high - b.low), centre = 0.5 * (b.high + b.low);
      if (!finite(half) || !(half.x > 0. && half.y > 0. && half.z > 0.))
        throw Error(ErrorKind::Geometry, where + "a sensitive solid is unbounded or empty");
      m_shapes.push_back({centre.x, centre.y, centre.z, half.x, half.y, half.z,
                          solid.is_box() ? -1 : static_cast<std::int32_t>(m_solids.size())});
      if (!solid.is_box())
        m_solids.push_back(solid);
    }

    // Each rotation serves volumes on either side of the origin: local +z or -z is outward.
    struct Placement {
      std::uint32_t orientation = 0, frame = 0;
    };
    std::vector<std::array<Placement, 2>> placements;
    for (const Matrix3& rotation : table.rotations) {
      const Vec3 ex = column(rotation, 0), ey = column(rotation, 1), ez = column(rotation, 2);
      const Vec3 right = cross(ex, ey);
      if (!finite(ex) || !finite(ey) || !finite(ez) || std::abs(norm(ex) - 1.) > 1e-6 ||
          std::abs(norm(ey) - 1.) > 1e-6 || std::abs(std::abs(dot(right, ez)) - 1.) > 1e-6)
        throw Error(ErrorKind::Geometry, where + "a rotation matrix is not orthogonal");
      std::array<Placement, 2> sides;
      for (int side = 0; side < 2; ++side) {
        const Vec3 normal = side == 0 ? ez : -ez;
        std::size_t found = orientations.size();
        for (std::size_t i = 0; i < orientations.size() && found == orientations.size(); ++i) {
          const Orientation& o = orientations[i];
          if (norm(o.normal - normal) < axis_tolerance && is_unit_component(dot(o.u, ex)) &&
              is_unit_component(dot(o.u, ey)))
            found = i;
        }
        if (found == orientations.size())
          orientations.push_back(make_orientation(normal, ex, ey));
        const Orientation& o = orientations[found];
        const Frame frame{std::round(dot(ex, o.u)), std::round(dot(ex, o.v)), std::round(dot(ey, o.u)),
                          std::round(dot(ey, o.v)), side == 0 ? 1. : -1.};
        std::size_t f = 0;
        while (f < m_frames.size() &&
               !(m_frames[f].xu == frame.xu && m_frames[f].xv == frame.xv && m_frames[f].yu == frame.yu &&
                 m_frames[f].yv == frame.yv && m_frames[f].zn == frame.zn))
          ++f;
        if (f == m_frames.size())
          m_frames.push_back(frame);
        sides[static_cast<std::size_t>(side)] = {static_cast<std::uint32_t>(found), static_cast<std::uint32_t>(f)};
      }
      placements.push_back(sides);
    }

    DetectorLookup lookup;
    for (const Segmentation::Entry& entry : table.segmentation.entries)
      lookup.cell_mask |= resolve_grid(entry.grid, encoding, 0).clear_mask;
    lookup.system_mask = system_field ? system_field->mask() : 0;
    lookup.system_value = n > 0 ? table.volume_id[0] & lookup.system_mask : 0;

    std::unordered_map<std::uint64_t, std::vector<std::uint32_t>> planes_by_key;
    std::vector<std::unordered_map<CellID, std::uint32_t>> grids(table.segmentation.entries.size());
    std::vector<CellID> selectors;
    for (const Segmentation::Entry& entry : table.segmentation.entries)
      selectors.push_back(grid_selector_mask(entry.grid, encoding));

    for (std::size_t i = 0; i < n; ++i) {
      const CellID id = table.volume_id[i];
      if (table.rotation[i] >= placements.size() || table.solid[i] >= table.solids.size())
        throw Error(ErrorKind::Geometry, where + "a volume refers to a rotation or solid that is not there");
      if (!finite(table.translation_mm[i]))
        throw Error(ErrorKind::Geometry, where + "a volume has no finite position");
      if ((id & lookup.cell_mask) != 0 || (id & lookup.system_mask) != lookup.system_value)
        throw Error(ErrorKind::Geometry, where + "a volume identifier has cell bits set or another system",
                    std::to_string(id));
      const std::uint32_t shape_index = first_shape + table.solid[i];
      const Shape& shape = m_shapes[shape_index];
      const Matrix3& rotation = table.rotations[table.rotation[i]];
      const Vec3 ez = column(rotation, 2);
      const Vec3& t = table.translation_mm[i];
      const double w = dot(ez, t + shape.z_centre * ez);
      const Placement place = placements[table.rotation[i]][w > -plane_tolerance_mm ? 0 : 1];
      const Orientation& o = orientations[place.orientation];

      const std::size_t entry = entry_of(table.segmentation, encoding, id);
      auto [grid, is_new] = grids[entry].try_emplace(id & selectors[entry], 0);
      if (is_new) {
        // Nearly all wafers share one grid: keep it once, so that it stays in the innermost cache.
        const Grid resolved = resolve_grid(table.segmentation.entries[entry].grid, encoding, id);
        const auto same = std::find(m_grids.begin(), m_grids.end(), resolved);
        grid->second = static_cast<std::uint32_t>(same - m_grids.begin());
        if (same == m_grids.end())
          m_grids.push_back(resolved);
      }

      const auto layer = layer_field ? static_cast<std::int32_t>(layer_field->get(id)) : -1;
      const auto technology = key_field ? static_cast<std::int32_t>(key_field->get(id)) : -1;
      const double offset = dot(o.normal, t) + m_frames[place.frame].zn * shape.z_centre;
      const std::uint64_t key = (static_cast<std::uint64_t>(place.orientation) << 48) ^
                                (static_cast<std::uint64_t>(static_cast<std::uint32_t>(layer)) << 24) ^
                                static_cast<std::uint32_t>(technology);
      auto& candidates = planes_by_key[key];
      std::uint32_t plane = std::numeric_limits<std::uint32_t>::max();
      for (const std::uint32_t c : candidates)
        if (m_planes[c].layer == layer && m_planes[c].technology == technology &&
            std::abs(m_planes[c].offset_mm - offset) < plane_tolerance_mm &&
            std::abs(m_planes[c].half_thickness_mm - shape.z_half) < plane_tolerance_mm)
          plane = c;
      if (plane == std::numeric_limits<std::uint32_t>::max()) {
        plane = static_cast<std::uint32_t>(m_planes.size());
        candidates.push_back(plane);
        Plane p;
        p.detector = detector;
        p.layer = layer;
        p.technology = technology;
        p.normal = o.normal;
        p.u_axis = o.u;
        p.v_axis = o.v;
        p.offset_mm = offset;
        p.half_thickness_mm = shape.z_half;
        p.u_min_mm = p.v_min_mm = std::numeric_limits<double>::infinity();
        p.u_max_mm = p.v_max_mm = -std::numeric_limits<double>::infinity();
        m_planes.push_back(p);
      }
      const Volume volume{dot(o.u, t), dot(o.v, t), id, shape_index << 4 | place.frame, grid->second};
      Plane& p = m_planes[plane];
      double u_low, u_high, v_low, v_high;
      bounds_in_plane(volume, u_low, u_high, v_low, v_high);
      p.u_min_mm = std::min(p.u_min_mm, u_low);
      p.u_max_mm = std::max(p.u_max_mm, u_high);
      p.v_min_mm = std::min(p.v_min_mm, v_low);
      p.v_max_mm = std::max(p.v_max_mm, v_high);
      ++p.volume_count;
      rows.push_back({volume, plane});
    }
    m_lookup.push_back(std::move(lookup));
  }
  if (m_frames.size() > 16 || m_shapes.size() >= (std::size_t{1} << 28))
    throw Error(ErrorKind::Geometry, "too many distinct solids", std::to_string(m_shapes.size()), "fewer than 2^28");

  // Volumes by plane, neighbours close together in memory.
  std::uint32_t next = 0;
  for (Plane& p : m_planes) {
    p.first_volume = next;
    next += p.volume_count;
  }
  std::vector<std::uint32_t> cursor;
  for (const Plane& p : m_planes)
    cursor.push_back(p.first_volume);
  m_volumes.resize(rows.size());
  m_volume_plane.resize(rows.size());
  for (const Row& row : rows) {
    const std::uint32_t at = cursor[row.plane]++;
    m_volumes[at] = row.volume;
    m_volume_plane[at] = row.plane;
  }
  rows = {};
  build_bins();
  build_lookup();
}

void SensitiveSurfaces::build_bins() {
  for (const Plane& p : m_planes) {
    PlaneIndex index;
    index.u_min = p.u_min_mm;
    index.u_max = p.u_max_mm;
    index.v_min = p.v_min_mm;
    index.v_max = p.v_max_mm;
    const auto begin = m_volumes.begin() + p.first_volume, end = begin + p.volume_count;
    double mean_u = 0., mean_v = 0.;
    for (auto volume = begin; volume != end; ++volume) {
      double u_low, u_high, v_low, v_high;
      bounds_in_plane(*volume, u_low, u_high, v_low, v_high);
      mean_u += (u_high - u_low) / p.volume_count;
      mean_v += (v_high - v_low) / p.volume_count;
    }
    // Bins a little smaller than a volume: one to four candidates each. Sparse planes get fewer bins.
    double wanted_u = (index.u_max - index.u_min) / (0.6 * mean_u),
           wanted_v = (index.v_max - index.v_min) / (0.6 * mean_v);
    const double allowed = 8. * p.volume_count + 16.;
    if (wanted_u * wanted_v > allowed) {
      const double shrink = std::sqrt(allowed / (wanted_u * wanted_v));
      wanted_u *= shrink;
      wanted_v *= shrink;
    }
    const bool single = p.volume_count == 1;
    index.bins_u = single ? 1 : static_cast<std::uint32_t>(std::clamp(std::ceil(wanted_u), 1., allowed));
    index.bins_v = single ? 1 : static_cast<std::uint32_t>(std::clamp(std::ceil(wanted_v), 1., allowed));
    index.bins_per_u = index.bins_u / (index.u_max - index.u_min);
    index.bins_per_v = index.bins_v / (index.v_max - index.v_min);
    index.first_bin = m_bins.size();

    const auto bin = [](double x, double low, double per, std::uint32_t count) {
      return static_cast<std::uint32_t>(std::clamp((x - low) * per, 0., count - 1.));
    };
    // Sorted by bin, so that neighbours share cache lines.
    std::vector<std::pair<std::uint64_t, Volume>> sorted;
    sorted.reserve(p.volume_count);
    for (auto volume = begin; volume != end; ++volume)
      sorted.emplace_back(std::uint64_t{bin(volume->v0, index.v_min, index.bins_per_v, index.bins_v)} * index.bins_u +
                              bin(volume->u0, index.u_min, index.bins_per_u, index.bins_u),
                          *volume);
    std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::transform(sorted.begin(), sorted.end(), begin, [](const auto& entry) { return entry.second; });

    // Every bin with the volumes that reach into it, the one that covers most of it first: the first look is mostly
    // the last, and needs one line of the bin table and one of the volumes.
    const std::size_t bins = std::size_t{index.bins_u} * index.bins_v;
    const auto for_reaches = [&](auto&& visit) {
      for (std::uint32_t i = p.first_volume; i < p.first_volume + p.volume_count; ++i) {
        double u_low, u_high, v_low, v_high;
        bounds_in_plane(m_volumes[i], u_low, u_high, v_low, v_high);
        const std::uint32_t u_first = bin(u_low - bin_margin_mm, index.u_min, index.bins_per_u, index.bins_u);
        const std::uint32_t u_last = bin(u_high + bin_margin_mm, index.u_min, index.bins_per_u, index.bins_u);
        const std::uint32_t v_first = bin(v_low - bin_margin_mm, index.v_min, index.bins_per_v, index.bins_v);
        const std::uint32_t v_last = bin(v_high + bin_margin_mm, index.v_min, index.bins_per_v, index.bins_v);
        for (std::uint32_t iv = v_first; iv <= v_last; ++iv)
          for (std::uint32_t iu = u_first; iu <= u_last; ++iu) {
            const double u = index.u_min + iu / index.bins_per_u, v = index.v_min + iv / index.bins_per_v;
            const double du = std::min(u_high, u + 1. / index.bins_per_u) - std::max(u_low, u);
            const double dv = std::min(v_high, v + 1. / index.bins_per_v) - std::max(v_low, v);
            visit(std::size_t{iv} * index.bins_u + iu, i, std::max(0., du) * std::max(0., dv));
          }
      }
    };
    m_bins.resize(index.first_bin + bins, Bin{none, none});
    Bin* const target = m_bins.data() + index.first_bin;
    std::vector<double> best(bins, -1.);
    std::vector<std::uint32_t> count(bins, 0);
    for_reaches([&](std::size_t b, std::uint32_t i, double covered) {
      ++count[b];
      if (covered > best[b]) {
        best[b] = covered;
        target[b].first = i;
      }
    });
    for (std::size_t b = 0; b < bins; ++b)
      if (count[b] > 1) {
        target[b].others = static_cast<std::uint32_t>(m_others.size());
        m_others.resize(m_others.size() + count[b], none); // one less than all, and the end mark
        count[b] = target[b].others;
      }
    for_reaches([&](std::size_t b, std::uint32_t i, double) {
      if (i != target[b].first)
        m_others[count[b]++] = i;
    });
    m_index.push_back(index);
  }
  m_bins.shrink_to_fit();
  m_others.shrink_to_fit();
}

void SensitiveSurfaces::build_lookup() {
  std::vector<std::size_t> counts(m_detectors.size(), 0);
  for (const Plane& p : m_planes)
    counts[p.detector] += p.volume_count;
  for (std::size_t d = 0; d < m_lookup.size(); ++d) {
    const std::size_t size = std::bit_ceil(counts[d] + counts[d] / 2 + 2);
    m_lookup[d].slots.assign(size, 0);
    m_lookup[d].shift = 64u - static_cast<unsigned>(std::countr_zero(size));
  }
  for (std::uint32_t i = 0; i < m_volumes.size(); ++i) {
    DetectorLookup& lookup = m_lookup[m_planes[m_volume_plane[i]].detector];
    std::size_t slot = hash(m_volumes[i].volume_id) >> lookup.shift;
    while (lookup.slots[slot] != 0)
      slot = (slot + 1) & (lookup.slots.size() - 1);
    lookup.slots[slot] = i + 1;
  }

  for (std::uint32_t i = 0; i < m_planes.size(); ++i) {
    const Plane& p = m_planes[i];
    auto group = std::find_if(m_normals.begin(), m_normals.end(),
                              [&](const NormalGroup& g) { return norm(g.normal - p.normal) < axis_tolerance; });
    if (group == m_normals.end()) {
      m_normals.push_back({p.normal, 0., {}, {}, {}});
      group = m_normals.end() - 1;
    }
    group->plane.push_back(i);
    group->thickest = std::max(group->thickest, 2. * p.half_thickness_mm);
  }
  for (NormalGroup& group : m_normals) {
    std::sort(group.plane.begin(), group.plane.end(), [&](std::uint32_t a, std::uint32_t b) {
      return m_planes[a].offset_mm - m_planes[a].half_thickness_mm <
             m_planes[b].offset_mm - m_planes[b].half_thickness_mm;
    });
    for (const std::uint32_t i : group.plane) {
      group.lower.push_back(m_planes[i].offset_mm - m_planes[i].half_thickness_mm);
      group.upper.push_back(m_planes[i].offset_mm + m_planes[i].half_thickness_mm);
    }
  }
}

std::uint32_t SensitiveSurfaces::detector_index(std::string_view name) const {
  std::string known;
  for (std::size_t i = 0; i < m_detectors.size(); ++i) {
    if (m_detectors[i].name == name)
      return static_cast<std::uint32_t>(i);
    known += (known.empty() ? "" : ", ") + m_detectors[i].name;
  }
  throw Error(ErrorKind::Geometry, "unknown detector", "'" + std::string(name) + "'", "one of " + known);
}

inline void SensitiveSurfaces::to_local(const Volume& volume, double u, double v, double& x, double& y) const {
  const Frame& f = m_frames[volume.shape_and_frame & 15u];
  const double du = u - volume.u0, dv = v - volume.v0;
  x = f.xu * du + f.xv * dv;
  y = f.yu * du + f.yv * dv;
}

inline bool SensitiveSurfaces::contains(const Volume& volume, double x, double y, double z_from_mid) const {
  const Shape& shape = m_shapes[volume.shape_and_frame >> 4];
  if (!(std::abs(x - shape.x_centre) <= shape.x_half && std::abs(y - shape.y_centre) <= shape.y_half))
    return false;
  if (shape.solid < 0) [[likely]]
    return true;
  const double zn = m_frames[volume.shape_and_frame & 15u].zn;
  return m_solids[static_cast<std::size_t>(shape.solid)].outside({x, y, shape.z_centre + zn * z_from_mid}) <= 0.;
}

template <class Accept>
inline bool SensitiveSurfaces::for_candidates(std::size_t plane, double u, double v, Accept&& accept) const {
  const PlaneIndex& index = m_index[plane];
  if (!(u >= index.u_min && u <= index.u_max && v >= index.v_min && v <= index.v_max)) // false for NaN, too
    return false;
  const auto iu = std::min(static_cast<std::uint32_t>((u - index.u_min) * index.bins_per_u), index.bins_u - 1);
  const auto iv = std::min(static_cast<std::uint32_t>((v - index.v_min) * index.bins_per_v), index.bins_v - 1);
  const Bin& bin = m_bins[index.first_bin + std::size_t{iv} * index.bins_u + iu];
  if (bin.first == none)
    return false;
  if (accept(bin.first))
    return true;
  if (bin.others == none)
    return false;
  for (const std::uint32_t* other = &m_others[bin.others]; *other != none; ++other)
    if (accept(*other))
      return true;
  return false;
}

CellID SensitiveSurfaces::locate_in_plane(std::size_t plane, double u_mm, double v_mm) const {
  CellID cell = 0;
  for_candidates(plane, u_mm, v_mm, [&](std::uint32_t i) {
    const Volume& volume = m_volumes[i];
    double x, y;
    to_local(volume, u_mm, v_mm, x, y);
    if (!contains(volume, x, y, 0.))
      return false;
    cell = m_grids[volume.grid].cell(volume.volume_id, x, y);
    return true;
  });
  return cell;
}

bool SensitiveSurfaces::locate_in_plane(std::size_t plane, double u_mm, double v_mm, CellRectangle& result) const {
  result.cell = 0;
  for_candidates(plane, u_mm, v_mm, [&](std::uint32_t i) {
    const Volume& volume = m_volumes[i];
    double x, y;
    to_local(volume, u_mm, v_mm, x, y);
    if (!contains(volume, x, y, 0.))
      return false;
    const Grid& grid = m_grids[volume.grid];
    result.cell = grid.cell(volume.volume_id, x, y);
    if (result.cell != 0) {
      const auto [ix, iy] = grid.indices(x, y);
      rectangle(i, ix, iy, result);
    }
    return true;
  });
  return result.cell != 0;
}

CellID SensitiveSurfaces::locate_any(const Vec3& p, std::int64_t detector) const {
  if (!finite(p))
    return 0;
  CellID cell = 0;
  for (const NormalGroup& group : m_normals) {
    const double w = dot(group.normal, p);
    const auto above = std::upper_bound(group.lower.begin(), group.lower.end(), w);
    for (auto k = above - group.lower.begin(); k-- > 0;) {
      const auto at = static_cast<std::size_t>(k);
      if (group.lower[at] < w - group.thickest)
        break;
      const std::uint32_t i = group.plane[at];
      const Plane& plane = m_planes[i];
      if (w > group.upper[at] || (detector >= 0 && plane.detector != detector))
        continue;
      const double u = dot(plane.u_axis, p), v = dot(plane.v_axis, p);
      const bool inside = for_candidates(i, u, v, [&](std::uint32_t j) {
        const Volume& volume = m_volumes[j];
        double x, y;
        to_local(volume, u, v, x, y);
        if (!contains(volume, x, y, w - plane.offset_mm))
          return false;
        cell = m_grids[volume.grid].cell(volume.volume_id, x, y);
        return true;
      });
      if (inside)
        return cell;
    }
  }
  return 0;
}

CellID SensitiveSurfaces::locate(const Vec3& p) const { return locate_any(p, -1); }
CellID SensitiveSurfaces::locate(const Vec3& p, std::uint32_t detector) const { return locate_any(p, detector); }

void SensitiveSurfaces::bounds_in_plane(const Volume& volume, double& u_low, double& u_high, double& v_low,
                                        double& v_high) const {
  const Frame& f = m_frames[volume.shape_and_frame & 15u];
  const Shape& s = m_shapes[volume.shape_and_frame >> 4];
  const double u = volume.u0 + f.xu * s.x_centre + f.yu * s.y_centre;
  const double v = volume.v0 + f.xv * s.x_centre + f.yv * s.y_centre;
  const double half_u = std::abs(f.xu) * s.x_half + std::abs(f.yu) * s.y_half;
  const double half_v = std::abs(f.xv) * s.x_half + std::abs(f.yv) * s.y_half;
  u_low = u - half_u;
  u_high = u + half_u;
  v_low = v - half_v;
  v_high = v + half_v;
}

bool SensitiveSurfaces::rectangle(std::uint32_t index, std::int64_t ix, std::int64_t iy, CellRectangle& result) const {
  const Volume& volume = m_volumes[index];
  const Frame& f = m_frames[volume.shape_and_frame & 15u];
  const Shape& s = m_shapes[volume.shape_and_frame >> 4];
  const Grid& grid = m_grids[volume.grid];
  const LocalRectangle cell = grid.rectangle(ix, iy);
  const double x_low = std::max(cell.x_low, s.x_centre - s.x_half);
  const double x_high = std::min(cell.x_high, s.x_centre + s.x_half);
  const double y_low = std::max(cell.y_low, s.y_centre - s.y_half);
  const double y_high = std::min(cell.y_high, s.y_centre + s.y_half);
  const double u1 = volume.u0 + f.xu * x_low + f.yu * y_low, u2 = volume.u0 + f.xu * x_high + f.yu * y_high;
  const double v1 = volume.v0 + f.xv * x_low + f.yv * y_low, v2 = volume.v0 + f.xv * x_high + f.yv * y_high;
  result.volume = index;
  result.u_low_mm = std::min(u1, u2);
  result.u_high_mm = std::max(u1, u2);
  result.v_low_mm = std::min(v1, v2);
  result.v_high_mm = std::max(v1, v2);
  return x_high - x_low > overlap_mm && y_high - y_low > overlap_mm;
}

SensitiveVolume SensitiveSurfaces::volume(std::size_t i) const {
  if (i >= m_volumes.size())
    throw Error(ErrorKind::Geometry, "volume index out of range", std::to_string(i),
                "0.." + std::to_string(m_volumes.size()));
  SensitiveVolume result;
  result.volume_id = m_volumes[i].volume_id;
  result.plane = m_volume_plane[i];
  result.is_box = m_shapes[m_volumes[i].shape_and_frame >> 4].solid < 0;
  bounds_in_plane(m_volumes[i], result.u_low_mm, result.u_high_mm, result.v_low_mm, result.v_high_mm);
  return result;
}

std::vector<std::uint32_t> SensitiveSurfaces::volumes_in(std::size_t plane, double u_low, double u_high, double v_low,
                                                         double v_high) const {
  std::vector<std::uint32_t> found;
  const PlaneIndex& index = m_index[plane];
  if (!(u_low <= index.u_max && u_high >= index.u_min && v_low <= index.v_max && v_high >= index.v_min))
    return found;
  const auto bin = [](double x, double low, double per, std::uint32_t count) {
    return static_cast<std::uint32_t>(std::clamp((x - low) * per, 0., count - 1.));
  };
  const std::uint32_t u_first = bin(u_low, index.u_min, index.bins_per_u, index.bins_u);
  const std::uint32_t u_last = bin(u_high, index.u_min, index.bins_per_u, index.bins_u);
  const std::uint32_t v_first = bin(v_low, index.v_min, index.bins_per_v, index.bins_v);
  const std::uint32_t v_last = bin(v_high, index.v_min, index.bins_per_v, index.bins_v);
  for (std::uint32_t iv = v_first; iv <= v_last; ++iv)
    for (std::uint32_t iu = u_first; iu <= u_last; ++iu) {
      const auto take = [&](std::uint32_t i) {
        double ul, uh, vl, vh;
        bounds_in_plane(m_volumes[i], ul, uh, vl, vh);
        if (ul <= u_high && uh >= u_low && vl <= v_high && vh >= v_low)
          found.push_back(i);
      };
      const Bin& b = m_bins[index.first_bin + std::size_t{iv} * index.bins_u + iu];
      if (b.first != none)
        take(b.first);
      if (b.others != none)
        for (const std::uint32_t* other = &m_others[b.others]; *other != none; ++other)
          take(*other);
    }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

std::int64_t SensitiveSurfaces::find_volume(std::size_t detector, CellID cell) const {
  const DetectorLookup& lookup = m_lookup[detector];
  if ((cell & lookup.system_mask) != lookup.system_value)
    return -1;
  const CellID id = cell & ~lookup.cell_mask;
  for (std::size_t slot = hash(id) >> lookup.shift;; slot = (slot + 1) & (lookup.slots.size() - 1)) {
    const std::uint32_t entry = lookup.slots[slot];
    if (entry == 0)
      return -1;
    if (m_volumes[entry - 1].volume_id == id)
      return entry - 1;
  }
}

std::int64_t SensitiveSurfaces::find_volume(CellID cell) const {
  for (std::size_t d = 0; d < m_lookup.size(); ++d)
    if (const std::int64_t found = find_volume(d, cell); found >= 0)
      return found;
  return -1;
}

bool SensitiveSurfaces::cell_centre(CellID cell, Vec3& centre_mm) const {
  const std::int64_t found = find_volume(cell);
  if (found < 0)
    return false;
  const Volume& volume = m_volumes[static_cast<std::size_t>(found)];
  const Plane& plane = m_planes[m_volume_plane[static_cast<std::size_t>(found)]];
  const Frame& f = m_frames[volume.shape_and_frame & 15u];
  const Shape& s = m_shapes[volume.shape_and_frame >> 4];
  const auto [x, y] = m_grids[volume.grid].centre(cell);
  // The segmentation puts centres at local z = 0, which need not be the mid-plane of a composed solid.
  centre_mm = (volume.u0 + (f.xu * x + f.yu * y)) * plane.u_axis + (volume.v0 + (f.xv * x + f.yv * y)) * plane.v_axis +
              (plane.offset_mm - f.zn * s.z_centre) * plane.normal;
  return true;
}

bool SensitiveSurfaces::exists(CellID cell) const {
  std::uint32_t plane;
  CellRectangle unused;
  return cell_rectangle(cell, plane, unused);
}

bool SensitiveSurfaces::cell_rectangle(CellID cell, std::uint32_t& plane, CellRectangle& result) const {
  result.cell = 0;
  const std::int64_t found = find_volume(cell);
  if (found < 0)
    return false;
  const auto i = static_cast<std::uint32_t>(found);
  const Grid& grid = m_grids[m_volumes[i].grid];
  // A field outside the two indices that the volume does not have: not this cell (two grids with different fields).
  if ((m_volumes[i].volume_id | (cell & grid.clear_mask)) != cell)
    return false;
  const auto [ix, iy] = grid.decode(cell);
  if (!rectangle(i, ix, iy, result))
    return false;
  const Shape& s = m_shapes[m_volumes[i].shape_and_frame >> 4];
  if (grid.polar) {
    if (!sector_has_material(m_volumes[i], ix, iy))
      return false;
  } else if (s.solid >= 0) {
    const LocalRectangle r = grid.rectangle(ix, iy);
    if (!m_solids[static_cast<std::size_t>(s.solid)].touches(r.x_low, r.x_high, r.y_low, r.y_high, s.z_centre))
      return false;
  }
  plane = m_volume_plane[i];
  result.cell = cell;
  return true;
}

bool SensitiveSurfaces::sector_has_material(const Volume& volume, std::int64_t ix, std::int64_t iy) const {
  const Grid& grid = m_grids[volume.grid];
  const auto [r_low, r_high] = grid.x.edges(ix);
  auto [phi_low, phi_high] = grid.y.edges(iy);
  phi_low = std::max(phi_low, -M_PI); // azimuths come from atan2
  phi_high = std::min(phi_high, M_PI);
  if (!(phi_low < phi_high && r_high > 0.))
    return false;
  constexpr int steps = 8;
  for (int i = 0; i < steps; ++i)
    for (int j = 0; j < steps; ++j) {
      const double r = std::max(0., r_low) + (i + 0.5) / steps * (r_high - std::max(0., r_low));
      const double phi = phi_low + (j + 0.5) / steps * (phi_high - phi_low);
      if (contains(volume, r * std::cos(phi), r * std::sin(phi), 0.))
        return true;
    }
  return false;
}

std::vector<CellID> SensitiveSurfaces::neighbours(CellID cell) const {
  std::vector<CellID> found;
  if (!exists(cell))
    return found;
  const Volume& volume = m_volumes[static_cast<std::size_t>(find_volume(cell))];
  const Grid& grid = m_grids[volume.grid];
  const auto [ix, iy] = grid.decode(cell);
  for (const auto& [dx, dy] : {std::pair{-1, 0}, {1, 0}, {0, -1}, {0, 1}}) {
    const std::int64_t jx = ix + dx, jy = iy + dy;
    if (jx < grid.x.index_low || jx > grid.x.index_high || jy < grid.y.index_low || jy > grid.y.index_high)
      continue;
    const CellID other = grid.compose(volume.volume_id, static_cast<std::int32_t>(jx), static_cast<std::int32_t>(jy));
    if (exists(other))
      found.push_back(other);
  }
  return found;
}

int SensitiveSurfaces::detector_of(CellID cell) const {
  const std::int64_t found = find_volume(cell);
  return found < 0 ? -1 : static_cast<int>(m_planes[m_volume_plane[static_cast<std::size_t>(found)]].detector);
}

std::int64_t SensitiveSurfaces::plane_of(CellID cell) const {
  const std::int64_t found = find_volume(cell);
  return found < 0 ? -1 : static_cast<std::int64_t>(m_volume_plane[static_cast<std::size_t>(found)]);
}

int SensitiveSurfaces::collection_of(CellID cell) const {
  const int detector = detector_of(cell);
  if (detector < 0)
    return -1;
  const DetectorInfo& info = m_detectors[static_cast<std::size_t>(detector)];
  for (std::size_t i = 0; i < info.hit_collections.size(); ++i) {
    const HitCollection& collection = info.hit_collections[i];
    if (collection.key_field.empty())
      return static_cast<int>(i);
    const std::int64_t key = info.encoding.get(cell, collection.key_field);
    if (collection.key_low <= key && key <= collection.key_high)
      return static_cast<int>(i);
  }
  return -1;
}

std::size_t SensitiveSurfaces::memory_bytes() const {
  std::size_t bytes = m_planes.size() * sizeof(Plane) + m_index.size() * sizeof(PlaneIndex) +
                      m_bins.size() * sizeof(Bin) + m_others.size() * sizeof(std::uint32_t) +
                      m_volumes.size() * sizeof(Volume) + m_volume_plane.size() * sizeof(std::uint32_t) +
                      m_shapes.size() * sizeof(Shape) + m_grids.size() * sizeof(Grid);
  for (const DetectorLookup& lookup : m_lookup)
    bytes += lookup.slots.size() * sizeof(std::uint32_t);
  return bytes;
}

} // namespace ddcalogen
