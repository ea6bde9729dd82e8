// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "placement/LayerStacks.h"

#include "core/Error.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace ddcalogen {
namespace {

constexpr double kFaceTolerance_mm = 1.;
constexpr double kParallel = 1e-9; // 1 - cos of the angle between normals that count as one
/// A point without a cell counts as dead when a sensitive cell is this near in its plane; larger than every gap
/// between modules, towers and wafers of the ILD calorimeters (at most 12.7 mm).
constexpr double kDeadReach_mm = 15.;
/// Dead material around the sensitive area of a plane; what is further out is no longer in this stack.
constexpr double kFrame_mm = 4.;

bool selected(const StackMember& member, std::int32_t technology) {
  return member.technologies.empty() ||
         std::find(member.technologies.begin(), member.technologies.end(), technology) != member.technologies.end();
}

void set_frame(LayerStack& stack) {
  const Vec3& n = stack.normal;
  if (std::abs(n.z) < 0.5) {
    stack.x_axis = normalised(Vec3{0., 0., -1.} - (-n.z) * n);
  } else {
    const Vec3 x{n.z > 0. ? 1. : -1., 0., 0.};
    stack.x_axis = normalised(x - dot(x, n) * n);
  }
  stack.y_axis = cross(n, stack.x_axis);
}

} // namespace

LayerStacks::LayerStacks(std::shared_ptr<const SensitiveSurfaces> surfaces, const std::vector<StackGroup>& groups)
    : m_surfaces(std::move(surfaces)) {
  const auto& detectors = m_surfaces->detectors();
  for (const auto& group : groups) {
    const std::size_t first_stack = m_stacks.size();
    for (const auto& member : group.members) {
      const auto found =
          std::find_if(detectors.begin(), detectors.end(), [&](const auto& d) { return d.name == member.detector; });
      if (found == detectors.end()) {
        std::string known;
        for (const auto& d : detectors)
          known += (known.empty() ? "" : ", ") + d.name;
        throw Error(ErrorKind::Geometry, "the geometry has no detector '" + member.detector + "'", known,
                    "one of these detectors", "Choose a calorimeter that this detector has.");
      }
      const auto detector = static_cast<std::uint32_t>(found - detectors.begin());
      bool any = false;
      for (std::size_t i = 0; i < m_surfaces->plane_count(); ++i) {
        const auto& plane = m_surfaces->plane(i);
        if (plane.detector != detector || !selected(member, plane.technology))
          continue;
        any = true;
        auto stack = std::find_if(m_stacks.begin() + static_cast<std::ptrdiff_t>(first_stack), m_stacks.end(),
                                  [&](const LayerStack& s) { return dot(s.normal, plane.normal) > 1. - kParallel; });
        if (stack == m_stacks.end()) {
          LayerStack fresh;
          fresh.normal = plane.normal;
          fresh.face_mm = group.face_mm;
          set_frame(fresh);
          m_stacks.push_back(std::move(fresh));
          stack = m_stacks.end() - 1;
        }
        StackPlane entry;
        entry.plane = i;
        entry.detector = detector;
        entry.offset_mm = plane.offset_mm;
        entry.u_axis = plane.u_axis;
        entry.v_axis = plane.v_axis;
        entry.xu = dot(stack->x_axis, plane.u_axis);
        entry.yu = dot(stack->y_axis, plane.u_axis);
        entry.xv = dot(stack->x_axis, plane.v_axis);
        entry.yv = dot(stack->y_axis, plane.v_axis);
        entry.u_min_mm = plane.u_min_mm;
        entry.u_max_mm = plane.u_max_mm;
        entry.v_min_mm = plane.v_min_mm;
        entry.v_max_mm = plane.v_max_mm;
        stack->planes.push_back(entry);
      }
      if (!any)
        throw Error(ErrorKind::Geometry,
                    "detector '" + member.detector + "' has no plane of the technologies asked for",
                    std::to_string(member.technologies.size()) + " technologies, none present",
                    "at least one sensitive plane", "Check the technologies with 'ddcalogen geometry show'.");
    }
  }
  for (auto& stack : m_stacks)
    std::sort(stack.planes.begin(), stack.planes.end(),
              [](const StackPlane& a, const StackPlane& b) { return a.offset_mm < b.offset_mm; });
}

StackEntry LayerStacks::find_entry(const Vec3& position, const Vec3& direction) const {
  StackEntry best;
  const auto finite = [](const Vec3& v) { return std::isfinite(v.x) && std::isfinite(v.y) && std::isfinite(v.z); };
  if (!finite(position) || !finite(direction) || !(norm(direction) > 0.5)) {
    best.decision = GuardDecision::BadKinematics;
    return best;
  }
  int best_rank = 0;
  for (std::size_t s = 0; s < m_stacks.size(); ++s) {
    const auto& stack = m_stacks[s];
    const double depth = dot(stack.normal, position) - stack.face_mm;
    if (depth < -kFaceTolerance_mm || dot(stack.normal, direction) <= 0.)
      continue;
    const double along = std::max(0., depth) + stack.face_mm;
    const auto next = std::upper_bound(stack.planes.begin(), stack.planes.end(), along,
                                       [](double value, const StackPlane& p) { return value < p.offset_mm; });
    if (next == stack.planes.end())
      continue;
    // A face reaches a little further than its first plane; 65 mm is the windmill's overhang plus the module edges.
    constexpr double margin_mm = 65.;
    const double u = dot(next->u_axis, position);
    const double v = dot(next->v_axis, position);
    if (!next->covers(u, v, margin_mm))
      continue;
    // The stack with a sensitive cell behind the point, then the one whose planes' outline has the point inside, then
    // the one that the particle has just entered.
    const int rank = near_sensitive(*next, u, v) ? 2 : next->covers(u, v) ? 1 : 0;
    if (best.decision == GuardDecision::Accepted && (best_rank > rank || (best_rank == rank && best.depth_mm <= depth)))
      continue;
    best.decision = GuardDecision::Accepted;
    best_rank = rank;
    best.stack = s;
    best.first_plane = static_cast<std::size_t>(next - stack.planes.begin());
    best.depth_mm = depth;
  }
  if (best.decision == GuardDecision::Accepted) {
    const auto& stack = m_stacks[best.stack];
    best.local_direction =
        normalised({dot(direction, stack.x_axis), dot(direction, stack.y_axis), dot(direction, stack.normal)});
  }
  return best;
}

bool LayerStacks::near_sensitive(const StackPlane& plane, double u, double v) const {
  if (!plane.covers(u, v, kDeadReach_mm))
    return false;
  static constexpr std::array<std::array<double, 2>, 8> steps{
      {{1., 0.}, {-1., 0.}, {0., 1.}, {0., -1.}, {1., 1.}, {-1., -1.}, {1., -1.}, {-1., 1.}}};
  if (m_surfaces->locate_in_plane(plane.plane, u, v) != 0)
    return true;
  return std::any_of(steps.begin(), steps.end(), [&](const auto& step) {
    return m_surfaces->locate_in_plane(plane.plane, u + kDeadReach_mm * step[0], v + kDeadReach_mm * step[1]) != 0;
  });
}

PlacedCell LayerStacks::nearest_in(const LayerStack& stack, const Vec3& point) const {
  const double along = dot(stack.normal, point);
  if (along < stack.face_mm || along > stack.planes.back().offset_mm + kDeadReach_mm)
    return {};
  auto next = std::lower_bound(stack.planes.begin(), stack.planes.end(), along,
                               [](const StackPlane& p, double value) { return p.offset_mm < value; });
  if (next == stack.planes.end() ||
      (next != stack.planes.begin() && along - (next - 1)->offset_mm < next->offset_mm - along))
    --next;
  const double u = dot(next->u_axis, point);
  const double v = dot(next->v_axis, point);
  if (!next->covers(u, v, kDeadReach_mm))
    return {};
  PlacedCell placed;
  placed.detector = next->detector;
  placed.cell_id = m_surfaces->locate_in_plane(next->plane, u, v);
  placed.moved = true;
  placed.position_mm = point + (next->offset_mm - along) * stack.normal;
  placed.dead = placed.cell_id == 0 && near_sensitive(*next, u, v);
  return placed;
}

PlacedCell LayerStacks::place_elsewhere(std::size_t own, const StackPlane& plane, double u, double v,
                                        const Vec3& entry) const {
  const Vec3 point = u * plane.u_axis + v * plane.v_axis + plane.offset_mm * m_stacks[own].normal;
  PlacedCell result;
  result.detector = plane.detector;
  result.dead = plane.covers(u, v, kFrame_mm) && near_sensitive(plane, u, v);
  for (std::size_t s = 0; s < m_stacks.size(); ++s) {
    if (s == own)
      continue;
    const PlacedCell found = nearest_in(m_stacks[s], point);
    if (found.cell_id != 0)
      return found;
    result.dead = result.dead || found.dead;
  }
  if (result.dead)
    return result;

  // In no calorimeter: on along the line from the entry, past the gap.
  const Vec3 way = point - entry;
  const double entry_u = dot(plane.u_axis, entry);
  const double entry_v = dot(plane.v_axis, entry);
  const auto leaves = [](double from, double to, double low, double high) {
    return to > high ? (high - from) / (to - from) : to < low ? (low - from) / (to - from) : 1.;
  };
  const double leave = std::clamp(
      std::min(leaves(entry_u, u, plane.u_min_mm, plane.u_max_mm), leaves(entry_v, v, plane.v_min_mm, plane.v_max_mm)),
      0., 1.);
  if (leave == 1.)
    return result;
  for (std::size_t s = 0; s < m_stacks.size(); ++s) {
    const auto& stack = m_stacks[s];
    const double slope = dot(stack.normal, way);
    if (s == own || !(slope > 0.))
      continue;
    const double reach = (stack.face_mm - dot(stack.normal, entry)) / slope; // where the line meets the face
    if (reach < leave)
      continue;
    const PlacedCell found = nearest_in(stack, entry + (reach + 1. - leave) * way);
    if (found.cell_id != 0)
      return found;
    result.dead = result.dead || found.dead;
  }
  return result;
}

} // namespace ddcalogen
