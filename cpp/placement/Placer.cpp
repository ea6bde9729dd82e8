// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "placement/Placer.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace ddcalogen {
namespace {

constexpr double kLight_mm_per_ns = 299.792458;

/// Projection of one shower on one plane: shower-frame (x, y) -> plane (u, v).
struct Projection {
  const StackPlane* plane = nullptr;
  double depth_mm = 0.; ///< plane behind the entry point, along the normal
  double shift_x = 0., shift_y = 0.;
  double axis_x = 0., axis_y = 0.; ///< where the shower axis meets the plane, shower frame
  double u0 = 0., v0 = 0.;

  double u(double x, double y) const { return u0 + (x + shift_x) * plane->xu + (y + shift_y) * plane->yu; }
  double v(double x, double y) const { return v0 + (x + shift_x) * plane->xv + (y + shift_y) * plane->yv; }
};

/// Everything about a shower that its spots share.
class ShowerContext {
public:
  ShowerContext(const LayerStacks& stacks, const ShowerToPlace& shower)
      : m_stacks(stacks), m_shower(shower), m_stack(stacks.stacks()[shower.entry.stack]) {
    const auto& depths = *shower.layer_depth_mm;
    const auto& direction = shower.entry.local_direction;
    const double slope_x = direction.x / direction.z;
    const double slope_y = direction.y / direction.z;
    const std::size_t left = m_stack.planes.size() - shower.entry.first_plane;
    m_projections.resize(std::min(depths.size(), left));
    for (std::size_t layer = 0; layer < m_projections.size(); ++layer) {
      auto& p = m_projections[layer];
      p.plane = &m_stack.planes[shower.entry.first_plane + layer];
      p.depth_mm = p.plane->offset_mm - dot(m_stack.normal, shower.particle.position_mm);
      const double deeper = p.depth_mm - depths[layer];
      p.shift_x = slope_x * deeper;
      p.shift_y = slope_y * deeper;
      p.axis_x = slope_x * depths[layer];
      p.axis_y = slope_y * depths[layer];
      p.u0 = dot(p.plane->u_axis, shower.particle.position_mm);
      p.v0 = dot(p.plane->v_axis, shower.particle.position_mm);
    }
  }

  /// nullptr for a layer behind the last plane.
  const Projection* projection(std::size_t layer) const {
    return layer < m_projections.size() ? &m_projections[layer] : nullptr;
  }

  /// Books `energy` at shower-frame (x, y) of the layer. `delay_ns`: time after the entry, or negative for straight
  /// flight at the speed of light.
  void deposit(const Projection& p, double x, double y, double energy, double delay_ns, CellAccumulator& cells,
               EnergyAccount& account) const {
    const double u = p.u(x, y);
    const double v = p.v(x, y);
    const CellID cell = m_stacks.surfaces().locate_in_plane(p.plane->plane, u, v);
    if (cell != 0) [[likely]] {
      book(cell, p, x, y, energy, delay_ns, cells, account);
      return;
    }
    const Vec3& entry = m_shower.particle.position_mm;
    const PlacedCell placed = m_stacks.place_elsewhere(m_shower.entry.stack, *p.plane, u, v, entry);
    if (placed.cell_id != 0) {
      add(placed.cell_id, placed.detector, placed.position_mm, energy, delay_ns, cells, account);
    } else if (placed.dead) {
      lose_dead(energy, account);
    } else {
      lose_outside(energy, account);
    }
  }

  static void lose_dead(double energy, EnergyAccount& account) {
    account.dead_gev += energy;
    ++account.spots;
    ++account.spots_dead;
  }

  static void lose_outside(double energy, EnergyAccount& account) {
    account.outside_gev += energy;
    ++account.spots;
    ++account.spots_outside;
  }

  /// Books energy in a cell of the projection's own plane.
  void book(CellID cell, const Projection& p, double x, double y, double energy, double delay_ns,
            CellAccumulator& cells, EnergyAccount& account) const {
    const Vec3 position = m_shower.particle.position_mm + (x + p.shift_x) * m_stack.x_axis +
                          (y + p.shift_y) * m_stack.y_axis + p.depth_mm * m_stack.normal;
    add(cell, p.plane->detector, position, energy, delay_ns, cells, account);
  }

  /// Shares `energy`, spread evenly over the rectangle [x0, x0 + width] x [y0, y0 + width], among the cells it covers.
  void share(const Projection& p, double x0, double y0, const std::array<double, 2>& width, double energy,
             CellAccumulator& cells, EnergyAccount& account) const {
    double left = energy;
    if (aligned(*p.plane))
      left = share_by_area(p, x0, y0, width, energy, cells, account);
    if (!(left > energy * kNegligible)) {
      account.placed_gev += left; // rounding of the sum of shares
      return;
    }
    // What no cell of this plane covers: a gap, a neighbouring stave, or the outside. Points stand for areas.
    std::array<std::array<double, 2>, kSamples * kSamples> points;
    std::size_t n = 0;
    for (std::size_t i = 0; i < kSamples; ++i)
      for (std::size_t j = 0; j < kSamples; ++j) {
        const double x = x0 + width[0] * (static_cast<double>(i) + 0.5) / kSamples;
        const double y = y0 + width[1] * (static_cast<double>(j) + 0.5) / kSamples;
        if (left == energy || m_stacks.surfaces().locate_in_plane(p.plane->plane, p.u(x, y), p.v(x, y)) == 0)
          points[n++] = {x, y};
      }
    if (n == 0) { // a gap narrower than the distance of the points
      lose_dead(left, account);
      return;
    }
    for (std::size_t k = 0; k < n; ++k)
      deposit(p, points[k][0], points[k][1], left / static_cast<double>(n), -1., cells, account);
  }

private:
  void add(CellID cell, std::uint32_t detector, const Vec3& position, double energy, double delay_ns,
           CellAccumulator& cells, EnergyAccount& account) const {
    const double delay = delay_ns >= 0. ? delay_ns : norm(position - m_shower.particle.position_mm) / kLight_mm_per_ns;
    account.placed_gev += energy;
    ++account.spots;
    cells.add(cell, detector, energy, m_shower.particle.time_ns + delay, position);
  }

  static constexpr std::size_t kSamples = 5;
  static constexpr double kNegligible = 1e-12;
  static constexpr double kInside_mm = 1e-7; ///< step off a border, so that a point lies in one cell only

  static bool aligned(const StackPlane& plane) {
    constexpr double tolerance = 1e-9;
    return std::abs(plane.xu * plane.xv) < tolerance && std::abs(plane.yu * plane.yv) < tolerance;
  }

  /// Returns the energy for which this plane has no cell. Rectangle borders must be parallel to the plane's axes.
  double share_by_area(const Projection& p, double x0, double y0, const std::array<double, 2>& width, double energy,
                       CellAccumulator& cells, EnergyAccount& account) const {
    const auto& surfaces = m_stacks.surfaces();
    const double ua = p.u(x0, y0);
    const double ub = p.u(x0 + width[0], y0 + width[1]);
    const double va = p.v(x0, y0);
    const double vb = p.v(x0 + width[0], y0 + width[1]);
    const double u_low = std::min(ua, ub);
    const double u_high = std::max(ua, ub);
    const double v_low = std::min(va, vb);
    const double v_high = std::max(va, vb);
    const double density = energy / ((u_high - u_low) * (v_high - v_low));
    double left = energy;
    for (const auto index : surfaces.volumes_in(p.plane->plane, u_low, u_high, v_low, v_high)) {
      const auto volume = surfaces.volume(index);
      if (!volume.is_box)
        return left; // an outline with holes: sampled by the caller
      const double u_end = std::min(u_high, volume.u_high_mm);
      const double v_end = std::min(v_high, volume.v_high_mm);
      for (double u = std::max(u_low, volume.u_low_mm); u < u_end - kInside_mm;) {
        double u_next = u_end;
        for (double v = std::max(v_low, volume.v_low_mm); v < v_end - kInside_mm;) {
          CellRectangle cell;
          if (!surfaces.locate_in_plane(p.plane->plane, u + kInside_mm, v + kInside_mm, cell) || cell.volume != index)
            break;
          u_next = std::min(u_end, cell.u_high_mm);
          const double v_next = std::min(v_end, cell.v_high_mm);
          if (!(u_next > u) || !(v_next > v))
            break;
          const double part = std::min(left, density * (u_next - u) * (v_next - v));
          const double mid_u = 0.5 * (u + u_next) - p.u0;
          const double mid_v = 0.5 * (v + v_next) - p.v0;
          const double x = mid_u * p.plane->xu + mid_v * p.plane->xv - p.shift_x;
          const double y = mid_u * p.plane->yu + mid_v * p.plane->yv - p.shift_y;
          book(cell.cell, p, x, y, part, -1., cells, account);
          left -= part;
          v = v_next;
        }
        u = u_next;
      }
    }
    return left;
  }

  const LayerStacks& m_stacks;
  const ShowerToPlace& m_shower;
  const LayerStack& m_stack;
  std::vector<Projection> m_projections;
};

} // namespace

void CellAccumulator::begin(std::size_t expected_spots) {
  m_slots.clear();
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(64, 2 * expected_spots));
  m_table.assign(size, 0);
  m_shift = 64U - static_cast<unsigned>(std::countr_zero(size));
}

void CellAccumulator::grow() {
  m_table.assign(2 * m_table.size(), 0);
  --m_shift;
  const std::size_t mask = m_table.size() - 1;
  for (std::size_t i = 0; i < m_slots.size(); ++i) {
    std::size_t at = (m_slots[i].cell * 0x9E3779B97F4A7C15ULL) >> m_shift;
    while (m_table[at] != 0)
      at = (at + 1) & mask;
    m_table[at] = static_cast<std::uint32_t>(i + 1);
  }
}

void CellAccumulator::add(CellID cell, std::uint32_t detector, double energy, double time, const Vec3& position) {
  const std::size_t mask = m_table.size() - 1;
  std::size_t at = (cell * 0x9E3779B97F4A7C15ULL) >> m_shift; // Fibonacci hashing
  while (m_table[at] != 0 && m_slots[m_table[at] - 1].cell != cell)
    at = (at + 1) & mask;
  if (m_table[at] == 0) {
    m_slots.push_back({cell, 0., 0., 0., 0., 0., detector});
    m_table[at] = static_cast<std::uint32_t>(m_slots.size());
    if (2 * m_slots.size() > m_table.size()) {
      grow();
      add(cell, detector, energy, time, position);
      return;
    }
  }
  Slot& slot = m_slots[m_table[at] - 1];
  slot.energy += energy;
  slot.energy_time += energy * time;
  slot.energy_x += energy * position.x;
  slot.energy_y += energy * position.y;
  slot.energy_z += energy * position.z;
}

void CellAccumulator::finish(CellDeposits& out) {
  for (const Slot& slot : m_slots) {
    if (!(slot.energy > 0.)) // a cell that only ever received zero
      continue;
    out.cell_id.push_back(slot.cell);
    out.detector.push_back(slot.detector);
    out.energy_gev.push_back(static_cast<float>(slot.energy));
    out.time_ns.push_back(static_cast<float>(slot.energy_time / slot.energy));
    out.spot_x_mm.push_back(static_cast<float>(slot.energy_x / slot.energy));
    out.spot_y_mm.push_back(static_cast<float>(slot.energy_y / slot.energy));
    out.spot_z_mm.push_back(static_cast<float>(slot.energy_z / slot.energy));
  }
  out.offsets.push_back(out.cell_id.size());
}

EnergyAccount Placer::place(const ShowerToPlace& shower, const SpotView& spots, CellAccumulator& cells,
                            CellDeposits& out) const {
  const ShowerContext context(*m_stacks, shower);
  EnergyAccount account;
  cells.begin(spots.count);
  for (std::size_t i = 0; i < spots.count; ++i) {
    const float* spot = spots.values + i * spots.columns;
    const double energy = static_cast<double>(spot[3]);
    account.generated_gev += energy;
    const Projection* p = context.projection(static_cast<std::size_t>(spot[2]));
    if (p == nullptr) { // behind the last layer: leaks out of the back
      context.lose_outside(energy, account);
      continue;
    }
    const double delay = spots.columns > 4 ? std::max(0., static_cast<double>(spot[4])) : -1.;
    context.deposit(*p, static_cast<double>(spot[0]), static_cast<double>(spot[1]), energy, delay, cells, account);
  }
  cells.finish(out);
  return account;
}

EnergyAccount Placer::place(const ShowerToPlace& shower, const GridView& grid, const GridGeometry& geometry,
                            GridMethod method, const std::function<void(float*, std::size_t)>& uniform,
                            CellAccumulator& cells, CellDeposits& out) const {
  const ShowerContext context(*m_stacks, shower);
  EnergyAccount account;
  const std::size_t per_layer = grid.nx * grid.ny;
  std::vector<float> random;
  if (method == GridMethod::RandomPoint) {
    random.resize(2 * grid.layers * per_layer);
    uniform(random.data(), random.size());
  }
  cells.begin(grid.layers * 64);
  for (std::size_t layer = 0; layer < grid.layers; ++layer) {
    const Projection* p = context.projection(layer);
    for (std::size_t ix = 0; ix < grid.nx; ++ix)
      for (std::size_t iy = 0; iy < grid.ny; ++iy) {
        const std::size_t index = layer * per_layer + ix * grid.ny + iy;
        const double energy = static_cast<double>(grid.values[index]);
        if (!(energy > 0.))
          continue;
        account.generated_gev += energy;
        if (p == nullptr) {
          context.lose_outside(energy, account);
          continue;
        }
        const double x0 = geometry.lower_edge_mm[0] + static_cast<double>(ix) * geometry.cell_mm[0] +
                          (geometry.follows_axis ? p->axis_x : 0.);
        const double y0 = geometry.lower_edge_mm[1] + static_cast<double>(iy) * geometry.cell_mm[1] +
                          (geometry.follows_axis ? p->axis_y : 0.);
        switch (method) {
        case GridMethod::Nearest:
          context.deposit(*p, x0 + 0.5 * geometry.cell_mm[0], y0 + 0.5 * geometry.cell_mm[1], energy, -1., cells,
                          account);
          break;
        case GridMethod::RandomPoint:
          context.deposit(*p, x0 + static_cast<double>(random[2 * index]) * geometry.cell_mm[0],
                          y0 + static_cast<double>(random[2 * index + 1]) * geometry.cell_mm[1], energy, -1., cells,
                          account);
          break;
        case GridMethod::Overlap:
          context.share(*p, x0, y0, geometry.cell_mm, energy, cells, account);
          break;
        }
      }
  }
  cells.finish(out);
  return account;
}

} // namespace ddcalogen
