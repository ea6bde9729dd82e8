// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "geometry/SensitiveSurfaces.h"
#include "shower/Shower.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ddcalogen {

/// One detector of a calorimeter and the technologies (values of the segmentation's key field) that showers fill.
struct StackMember {
  std::string detector;
  std::vector<std::int32_t> technologies; ///< empty: all
};

/// Detectors that follow each other in depth (ECAL barrel, then HCAL barrel) and share one shower.
/// `face_mm`: distance of the calorimeter face from the origin along the layer normal.
struct StackGroup {
  std::vector<StackMember> members;
  double face_mm = 0.;
};

/// A plane of a stack with what turns shower-frame x, y into its u, v.
struct StackPlane {
  std::size_t plane = 0; ///< index in SensitiveSurfaces
  std::uint32_t detector = 0;
  double offset_mm = 0.; ///< normal . mid-plane
  Vec3 u_axis, v_axis;
  double xu = 0., yu = 0., xv = 0., yv = 0.; ///< products of the frame's x and y with the plane's u and v
  double u_min_mm = 0., u_max_mm = 0., v_min_mm = 0., v_max_mm = 0.;

  bool covers(double u, double v, double margin_mm = 0.) const {
    return u >= u_min_mm - margin_mm && u <= u_max_mm + margin_mm && v >= v_min_mm - margin_mm &&
           v <= v_max_mm + margin_mm;
  }
};

/// Parallel sensitive planes behind one calorimeter face: a barrel stave or an endcap, ordered by depth.
struct LayerStack {
  Vec3 x_axis, y_axis, normal; ///< the shower frame's axes in global coordinates
  double face_mm = 0.;
  std::vector<StackPlane> planes;
};

/// Where a particle enters: the stack, how deep behind its face, and the first plane it can still reach.
struct StackEntry {
  GuardDecision decision = GuardDecision::NotAtCalorimeter;
  std::size_t stack = 0;
  std::size_t first_plane = 0;
  double depth_mm = 0.;
  Vec3 local_direction; ///< in the shower frame
};

/// A point on a sensitive plane.
struct PlacedCell {
  CellID cell_id = 0;
  std::uint32_t detector = 0;
  bool dead = false;  ///< when cell_id is 0: inside the calorimeter (dead) or not (outside)
  bool moved = false; ///< the cell is in another stack than asked for, at `position_mm`
  Vec3 position_mm{}; ///< global; only when moved
};

/// The stacks of one calorimeter. Immutable and safe to share between threads.
///
/// Shower frame: z along the layer normal, into the calorimeter; barrel x = -z of the detector; endcap z > 0 x, y as
/// the detector's, z < 0 x mirrored (the convention of DDML, CaloClouds 3 and showerdata files).
class LayerStacks {
public:
  /// Throws Error(Geometry) for unknown detectors or technologies and for groups without a plane.
  LayerStacks(std::shared_ptr<const SensitiveSurfaces> surfaces, const std::vector<StackGroup>& groups);

  const SensitiveSurfaces& surfaces() const { return *m_surfaces; }
  const std::vector<LayerStack>& stacks() const { return m_stacks; }

  /// Finds the stack whose face, or flank for a late entry, the particle crosses at `position_mm` (tolerance 1 mm).
  StackEntry find_entry(const Vec3& position_mm, const Vec3& direction) const;

  /// For a point of the given stack's plane where that plane has no cell: the plane of another stack that is nearest to
  /// that point in space (neighbouring stave); and for a point that has left the stack sideways into an empty gap, the
  /// point as far behind the next stack's face as it is behind the edge of this one, on the straight line from the
  /// shower's entry (barrel to endcap).
  PlacedCell place_elsewhere(std::size_t stack, const StackPlane& plane, double u_mm, double v_mm,
                             const Vec3& entry_mm) const;

private:
  PlacedCell nearest_in(const LayerStack& stack, const Vec3& point_mm) const;
  bool near_sensitive(const StackPlane& plane, double u_mm, double v_mm) const;

  std::shared_ptr<const SensitiveSurfaces> m_surfaces;
  std::vector<LayerStack> m_stacks;
};

} // namespace ddcalogen
