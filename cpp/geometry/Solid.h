// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/Vec3.h"

#include <array>
#include <memory>
#include <vector>

namespace ddcalogen {

/// Row-major 3x3 matrix.
using Matrix3 = std::array<double, 9>;

struct Bounds {
  Vec3 low;
  Vec3 high;
};

/// Shape of a sensitive volume in its own frame: a small constructive solid geometry, immutable and shared.
/// Every node is a function `outside(p)`: <= 0 inside and on the surface, > 0 outside, and never steeper than 1, so
/// that its value is a safe lower bound of the distance to the solid (used to decide whether a cell touches the solid).
class Solid {
public:
  /// Box with sides parallel to the axes.
  static Solid box(const Vec3& half_mm, const Vec3& centre_mm = {});
  /// Tube around z, |z| <= half_z.
  static Solid tube(double r_min_mm, double r_max_mm, double half_z_mm);
  /// Convex body {p: normal_i . p <= distance_i for all i}; may be unbounded (a wedge to intersect with).
  static Solid half_spaces(std::vector<Vec3> normals, std::vector<double> distances_mm);
  /// Polygon (simple, convex or not) in x, y extruded over [z_low, z_high].
  static Solid prism(std::vector<double> x_mm, std::vector<double> y_mm, double z_low_mm, double z_high_mm);
  static Solid unite(Solid left, Solid right);
  static Solid intersect(Solid left, Solid right);
  static Solid subtract(Solid left, Solid right);
  /// The solid rotated, then translated.
  static Solid placed(Solid solid, const Matrix3& rotation, const Vec3& translation_mm);

  double outside(const Vec3& p) const { return m_node->outside(p); }
  const Bounds& bounds() const { return m_node->bounds; }
  bool is_box() const { return m_node->box; }
  /// True if the rectangle [x]x[y] at height z touches the solid to within the tolerance.
  bool touches(double x_low, double x_high, double y_low, double y_high, double z, double tolerance_mm = 1e-6) const;

  /// Node of the tree.
  struct Node {
    virtual ~Node() = default;
    virtual double outside(const Vec3& p) const = 0;
    Bounds bounds;
    bool box = false;
  };

private:
  explicit Solid(std::shared_ptr<const Node> node) : m_node(std::move(node)) {}
  std::shared_ptr<const Node> m_node;
};

} // namespace ddcalogen
