// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "geometry/Solid.h"

#include "core/Error.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ddcalogen {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

void require(bool condition, const char* problem, const char* expected) {
  if (!condition)
    throw Error(ErrorKind::Geometry, std::string("malformed solid: ") + problem, {}, expected);
}

Vec3 elementwise_min(const Vec3& a, const Vec3& b) {
  return {std::min(a.x, b.x), std::min(a.y, b.y), std::min(a.z, b.z)};
}
Vec3 elementwise_max(const Vec3& a, const Vec3& b) {
  return {std::max(a.x, b.x), std::max(a.y, b.y), std::max(a.z, b.z)};
}
bool finite(const Vec3& p) { return std::isfinite(p.x) && std::isfinite(p.y) && std::isfinite(p.z); }

Vec3 rotate(const Matrix3& m, const Vec3& p) {
  return {m[0] * p.x + m[1] * p.y + m[2] * p.z, m[3] * p.x + m[4] * p.y + m[5] * p.z,
          m[6] * p.x + m[7] * p.y + m[8] * p.z};
}
Vec3 rotate_back(const Matrix3& m, const Vec3& p) {
  return {m[0] * p.x + m[3] * p.y + m[6] * p.z, m[1] * p.x + m[4] * p.y + m[7] * p.z,
          m[2] * p.x + m[5] * p.y + m[8] * p.z};
}

struct Box final : Solid::Node {
  Vec3 half, centre;
  double outside(const Vec3& p) const override {
    return std::max(
        {std::abs(p.x - centre.x) - half.x, std::abs(p.y - centre.y) - half.y, std::abs(p.z - centre.z) - half.z});
  }
};

struct Tube final : Solid::Node {
  double r_min = 0., r_max = 0., half_z = 0.;
  double outside(const Vec3& p) const override {
    const double r = std::sqrt(p.x * p.x + p.y * p.y);
    const double inner = r_min > 0. ? r_min - r : -infinity;
    return std::max({std::abs(p.z) - half_z, r - r_max, inner});
  }
};

struct HalfSpaces final : Solid::Node {
  std::vector<Vec3> normals;
  std::vector<double> distances;
  double outside(const Vec3& p) const override {
    double worst = -infinity;
    for (std::size_t i = 0; i < normals.size(); ++i)
      worst = std::max(worst, dot(normals[i], p) - distances[i]);
    return worst;
  }
};

struct Prism final : Solid::Node {
  std::vector<double> x, y;
  double z_low = 0., z_high = 0.;
  double outside(const Vec3& p) const override {
    bool inside = false;
    double nearest2 = infinity;
    for (std::size_t i = 0, j = x.size() - 1; i < x.size(); j = i++) {
      const double ex = x[i] - x[j], ey = y[i] - y[j];
      const double px = p.x - x[j], py = p.y - y[j];
      const double t = std::clamp((px * ex + py * ey) / (ex * ex + ey * ey), 0., 1.);
      nearest2 = std::min(nearest2, (px - t * ex) * (px - t * ex) + (py - t * ey) * (py - t * ey));
      if ((y[i] > p.y) != (y[j] > p.y) && p.x < x[j] + ex * (p.y - y[j]) / ey)
        inside = !inside;
    }
    const double flat = (inside ? -1. : 1.) * std::sqrt(nearest2);
    return std::max({flat, z_low - p.z, p.z - z_high});
  }
};

enum class Operation { Union, Intersection, Subtraction };

struct Boolean final : Solid::Node {
  Operation operation;
  Solid left, right;
  Boolean(Operation o, Solid l, Solid r) : operation(o), left(std::move(l)), right(std::move(r)) {}
  double outside(const Vec3& p) const override {
    switch (operation) {
    case Operation::Union:
      return std::min(left.outside(p), right.outside(p));
    case Operation::Intersection:
      return std::max(left.outside(p), right.outside(p));
    case Operation::Subtraction:
      return std::max(left.outside(p), -right.outside(p));
    }
    return infinity;
  }
};

struct Placed final : Solid::Node {
  Solid child;
  Matrix3 rotation;
  Vec3 translation;
  Placed(Solid c, const Matrix3& r, const Vec3& t) : child(std::move(c)), rotation(r), translation(t) {}
  double outside(const Vec3& p) const override { return child.outside(rotate_back(rotation, p - translation)); }
};

/// Corners of a convex body: all triples of planes whose common point is inside. Few planes, done once.
Bounds convex_bounds(const HalfSpaces& body) {
  Bounds bounds{{infinity, infinity, infinity}, {-infinity, -infinity, -infinity}};
  const auto& n = body.normals;
  const auto& d = body.distances;
  std::size_t corners = 0;
  for (std::size_t i = 0; i < n.size(); ++i)
    for (std::size_t j = i + 1; j < n.size(); ++j)
      for (std::size_t k = j + 1; k < n.size(); ++k) {
        const double volume = dot(n[i], cross(n[j], n[k]));
        if (std::abs(volume) < 1e-9)
          continue;
        const Vec3 p =
            (1. / volume) * (d[i] * cross(n[j], n[k]) + (d[j] * cross(n[k], n[i]) + d[k] * cross(n[i], n[j])));
        if (body.outside(p) > 1e-6)
          continue;
        bounds.low = elementwise_min(bounds.low, p);
        bounds.high = elementwise_max(bounds.high, p);
        ++corners;
      }
  // A bounded body has a plane facing every axis direction and at least four corners; a wedge has not.
  bool closed = corners >= 4;
  for (const Vec3& axis : {Vec3{1, 0, 0}, Vec3{0, 1, 0}, Vec3{0, 0, 1}}) {
    bool up = false, down = false;
    for (const Vec3& normal : n) {
      up = up || dot(normal, axis) > 1e-9;
      down = down || dot(normal, axis) < -1e-9;
    }
    closed = closed && up && down;
  }
  if (!closed)
    return {{-infinity, -infinity, -infinity}, {infinity, infinity, infinity}};
  return bounds;
}

bool touches_rectangle(const Solid& solid, double x, double y, double z, double half_x, double half_y,
                       double tolerance) {
  const double distance = solid.outside({x, y, z});
  if (distance <= 0.)
    return true;
  const double reach = std::sqrt(half_x * half_x + half_y * half_y);
  if (distance > reach)
    return false;
  if (reach < tolerance)
    return true;
  for (const double sx : {-0.5, 0.5})
    for (const double sy : {-0.5, 0.5})
      if (touches_rectangle(solid, x + sx * half_x, y + sy * half_y, z, half_x / 2, half_y / 2, tolerance))
        return true;
  return false;
}

} // namespace

Solid Solid::box(const Vec3& half_mm, const Vec3& centre_mm) {
  require(half_mm.x > 0. && half_mm.y > 0. && half_mm.z > 0. && finite(half_mm) && finite(centre_mm), "box",
          "positive half lengths");
  auto node = std::make_shared<Box>();
  node->half = half_mm;
  node->centre = centre_mm;
  node->bounds = {centre_mm - half_mm, centre_mm + half_mm};
  node->box = true;
  return Solid(std::move(node));
}

Solid Solid::tube(double r_min_mm, double r_max_mm, double half_z_mm) {
  require(r_min_mm >= 0. && r_max_mm > r_min_mm && half_z_mm > 0. && std::isfinite(r_max_mm + half_z_mm), "tube",
          "0 <= r_min < r_max and half_z > 0");
  auto node = std::make_shared<Tube>();
  node->r_min = r_min_mm;
  node->r_max = r_max_mm;
  node->half_z = half_z_mm;
  node->bounds = {{-r_max_mm, -r_max_mm, -half_z_mm}, {r_max_mm, r_max_mm, half_z_mm}};
  return Solid(std::move(node));
}

Solid Solid::half_spaces(std::vector<Vec3> normals, std::vector<double> distances_mm) {
  require(!normals.empty() && normals.size() == distances_mm.size(), "half spaces", "one distance for each normal");
  for (std::size_t i = 0; i < normals.size(); ++i)
    require(finite(normals[i]) && std::isfinite(distances_mm[i]) && std::abs(norm(normals[i]) - 1.) < 1e-9,
            "half spaces", "unit normals and finite distances");
  auto node = std::make_shared<HalfSpaces>();
  node->normals = std::move(normals);
  node->distances = std::move(distances_mm);
  node->bounds = convex_bounds(*node);
  return Solid(std::move(node));
}

Solid Solid::prism(std::vector<double> x_mm, std::vector<double> y_mm, double z_low_mm, double z_high_mm) {
  require(x_mm.size() >= 3 && x_mm.size() == y_mm.size() && z_high_mm > z_low_mm, "prism",
          "at least three corners and z_low < z_high");
  auto node = std::make_shared<Prism>();
  node->bounds = {{infinity, infinity, z_low_mm}, {-infinity, -infinity, z_high_mm}};
  for (std::size_t i = 0, j = x_mm.size() - 1; i < x_mm.size(); j = i++) {
    require(std::isfinite(x_mm[i]) && std::isfinite(y_mm[i]) && (x_mm[i] != x_mm[j] || y_mm[i] != y_mm[j]), "prism",
            "finite, distinct neighbouring corners");
    node->bounds.low = elementwise_min(node->bounds.low, {x_mm[i], y_mm[i], z_low_mm});
    node->bounds.high = elementwise_max(node->bounds.high, {x_mm[i], y_mm[i], z_high_mm});
  }
  node->x = std::move(x_mm);
  node->y = std::move(y_mm);
  node->z_low = z_low_mm;
  node->z_high = z_high_mm;
  return Solid(std::move(node));
}

Solid Solid::unite(Solid left, Solid right) {
  const Bounds a = left.bounds(), b = right.bounds();
  auto node = std::make_shared<Boolean>(Operation::Union, std::move(left), std::move(right));
  node->bounds = {elementwise_min(a.low, b.low), elementwise_max(a.high, b.high)};
  return Solid(std::move(node));
}

Solid Solid::intersect(Solid left, Solid right) {
  const Bounds a = left.bounds(), b = right.bounds();
  auto node = std::make_shared<Boolean>(Operation::Intersection, std::move(left), std::move(right));
  node->bounds = {elementwise_max(a.low, b.low), elementwise_min(a.high, b.high)};
  return Solid(std::move(node));
}

Solid Solid::subtract(Solid left, Solid right) {
  const Bounds bounds = left.bounds();
  auto node = std::make_shared<Boolean>(Operation::Subtraction, std::move(left), std::move(right));
  node->bounds = bounds;
  return Solid(std::move(node));
}

Solid Solid::placed(Solid solid, const Matrix3& rotation, const Vec3& translation_mm) {
  const Bounds child = solid.bounds();
  auto node = std::make_shared<Placed>(std::move(solid), rotation, translation_mm);
  if (!finite(child.low) || !finite(child.high)) {
    node->bounds = {{-infinity, -infinity, -infinity}, {infinity, infinity, infinity}};
    return Solid(std::move(node));
  }
  node->bounds = {{infinity, infinity, infinity}, {-infinity, -infinity, -infinity}};
  for (int corner = 0; corner < 8; ++corner) {
    const Vec3 p = translation_mm +
                   rotate(rotation, {corner & 1 ? child.high.x : child.low.x, corner & 2 ? child.high.y : child.low.y,
                                     corner & 4 ? child.high.z : child.low.z});
    node->bounds.low = elementwise_min(node->bounds.low, p);
    node->bounds.high = elementwise_max(node->bounds.high, p);
  }
  return Solid(std::move(node));
}

bool Solid::touches(double x_low, double x_high, double y_low, double y_high, double z, double tolerance_mm) const {
  if (!(x_low <= x_high && y_low <= y_high))
    return false;
  return touches_rectangle(*this, (x_low + x_high) / 2, (y_low + y_high) / 2, z, (x_high - x_low) / 2,
                           (y_high - y_low) / 2, tolerance_mm);
}

} // namespace ddcalogen
