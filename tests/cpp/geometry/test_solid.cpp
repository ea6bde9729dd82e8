// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "core/Error.h"
#include "geometry/Solid.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

using namespace ddcalogen;

namespace {

bool inside(const Solid& solid, double x, double y, double z = 0.) { return solid.outside({x, y, z}) <= 0.; }

Solid octagon(double apothem, double half_z) {
  std::vector<Vec3> normals{{0, 0, 1}, {0, 0, -1}};
  std::vector<double> distances{half_z, half_z};
  for (int i = 0; i < 8; ++i) {
    normals.push_back({std::cos(i * M_PI_4), std::sin(i * M_PI_4), 0.});
    distances.push_back(apothem);
  }
  return Solid::half_spaces(normals, distances);
}

/// A quadrant of an octagonal ring, as in ILD's HCAL ring.
Solid ring_quadrant() {
  const Solid ring = Solid::subtract(octagon(3000., 1.), octagon(2000., 2.));
  return Solid::intersect(ring, Solid::box({3000., 3000., 100.}, {3010., 3010., 50.}));
}

/// A plate with an excentric hole, as in ILD's ECAL plug.
Solid plate_with_hole() {
  return Solid::subtract(Solid::box({388., 388., 0.5}),
                         Solid::placed(Solid::tube(0., 250., 100.), {1, 0, 0, 0, 1, 0, 0, 0, 1}, {17., 0., 0.}));
}

TEST(Solid, BoxIncludesItsSurface) {
  const Solid box = Solid::box({1., 2., 3.}, {10., 0., 0.});
  EXPECT_TRUE(inside(box, 11., 2., 3.));
  EXPECT_FALSE(inside(box, 11.0000001, 2., 3.));
  EXPECT_TRUE(box.is_box());
  EXPECT_EQ(box.bounds().low.x, 9.);
}

TEST(Solid, PlateHasItsHole) {
  const Solid plate = plate_with_hole();
  EXPECT_FALSE(inside(plate, 17., 0.));
  EXPECT_FALSE(inside(plate, 17. + 249.99, 0.));
  EXPECT_TRUE(inside(plate, 17. + 250.01, 0.));
  EXPECT_TRUE(inside(plate, 17. - 250.01, 0.));
  EXPECT_FALSE(inside(plate, 389., 0.));
  EXPECT_FALSE(plate.is_box());
  EXPECT_EQ(plate.bounds().high.x, 388.);
}

TEST(Solid, RingQuadrantHasItsOutline) {
  const Solid quadrant = ring_quadrant();
  EXPECT_FALSE(inside(quadrant, 2500., 5.)); // in the gap between quadrants
  EXPECT_TRUE(inside(quadrant, 2500., 15.));
  EXPECT_FALSE(inside(quadrant, -2500., 15.));
  EXPECT_FALSE(inside(quadrant, 1990., 15.));
  const double diagonal = std::sqrt(0.5);
  EXPECT_TRUE(inside(quadrant, 2999.9 * diagonal, 2999.9 * diagonal));
  EXPECT_FALSE(inside(quadrant, 3000.1 * diagonal, 3000.1 * diagonal));
  EXPECT_NEAR(quadrant.bounds().low.x, 10., 1e-9);
  EXPECT_NEAR(quadrant.bounds().high.z, 1., 1e-9);
}

TEST(Solid, PrismMayBeConcave) {
  const Solid arrow = Solid::prism({0., 10., 0., 3.}, {-10., 0., 10., 0.}, -1., 1.);
  EXPECT_TRUE(inside(arrow, 5., 0.));
  EXPECT_FALSE(inside(arrow, 2., 0.)); // in the notch
  EXPECT_TRUE(inside(arrow, 1., 8.));
  EXPECT_FALSE(inside(arrow, 5., 0., 1.5));
}

TEST(Solid, PlacedTurnsAndMoves) {
  const Solid box = Solid::placed(Solid::box({10., 1., 1.}), {0, -1, 0, 1, 0, 0, 0, 0, 1}, {0., 5., 0.});
  EXPECT_TRUE(inside(box, 0., 14.9));
  EXPECT_FALSE(inside(box, 0., 15.1));
  EXPECT_FALSE(inside(box, 1.1, 5.));
  EXPECT_NEAR(box.bounds().high.y, 15., 1e-12);
}

TEST(Solid, UnionAndTube) {
  const Solid solid = Solid::unite(Solid::tube(5., 10., 1.), Solid::box({1., 1., 1.}));
  EXPECT_TRUE(inside(solid, 0., 0.));
  EXPECT_FALSE(inside(solid, 3., 0.));
  EXPECT_TRUE(inside(solid, 7., 0.));
  EXPECT_TRUE(inside(solid, 0., -10.));
}

/// The promise that makes `touches` right: |outside(a) - outside(b)| <= |a - b|.
TEST(Solid, OutsideIsNeverSteeperThanOne) {
  std::mt19937_64 random(2);
  std::uniform_real_distribution<double> wide(-4000., 4000.), step(-5., 5.);
  for (const Solid& solid :
       {ring_quadrant(), plate_with_hole(), Solid::prism({0., 10., 0., 3.}, {-10., 0., 10., 0.}, -1., 1.)})
    for (int i = 0; i < 5000; ++i) {
      const Vec3 a{wide(random) / 4, wide(random) / 4, step(random)};
      const Vec3 b = a + Vec3{step(random), step(random), step(random)};
      EXPECT_LE(std::abs(solid.outside(a) - solid.outside(b)), norm(a - b) * (1. + 1e-12));
    }
}

TEST(Solid, TouchesAgreesWithSampling) {
  const Solid plate = plate_with_hole();
  std::mt19937_64 random(3);
  std::uniform_real_distribution<double> centre(-400., 400.), offset(0., 5.);
  for (int i = 0; i < 3000; ++i) {
    const double x = centre(random), y = centre(random);
    bool sampled = false;
    for (int k = 0; k < 200 && !sampled; ++k)
      sampled = inside(plate, x + offset(random), y + offset(random));
    if (sampled) {
      EXPECT_TRUE(plate.touches(x, x + 5., y, y + 5., 0.)) << x << ' ' << y;
    }
  }
  EXPECT_FALSE(plate.touches(0., 5., 0., 5., 0.));        // in the hole
  EXPECT_FALSE(plate.touches(388.001, 393., 0., 5., 0.)); // beside the plate
  EXPECT_TRUE(plate.touches(387.9999, 393., 0., 5., 0.)); // a sliver
  EXPECT_FALSE(plate.touches(5., 0., 0., 5., 0.));        // an empty rectangle
  EXPECT_FALSE(plate.touches(300., 305., 0., 5., 0.6));   // above the plate
}

TEST(Solid, HalfSpacesKnowWhetherTheyAreBounded) {
  EXPECT_NEAR(octagon(10., 1.).bounds().high.x, 10., 1e-9);
  const Solid wedge = Solid::half_spaces({{0, 1, 0}, {1, 0, 0}}, {0., 0.});
  EXPECT_TRUE(std::isinf(wedge.bounds().low.x));
  const Solid sector = Solid::intersect(Solid::tube(0., 10., 1.), wedge);
  EXPECT_TRUE(inside(sector, -5., -5.));
  EXPECT_FALSE(inside(sector, 5., -5.));
  EXPECT_TRUE(std::isfinite(sector.bounds().low.x));
}

TEST(Solid, RefusesNonsense) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(Solid::box({0., 1., 1.}), Error);
  EXPECT_THROW(Solid::box({nan, 1., 1.}), Error);
  EXPECT_THROW(Solid::tube(5., 4., 1.), Error);
  EXPECT_THROW(Solid::tube(-1., 4., 1.), Error);
  EXPECT_THROW(Solid::half_spaces({}, {}), Error);
  EXPECT_THROW(Solid::half_spaces({{0, 0, 2}}, {1.}), Error);
  EXPECT_THROW(Solid::half_spaces({{0, 0, 1}}, {1., 2.}), Error);
  EXPECT_THROW(Solid::prism({0., 1.}, {0., 1.}, 0., 1.), Error);
  EXPECT_THROW(Solid::prism({0., 0., 1.}, {0., 0., 1.}, 0., 1.), Error);
  EXPECT_THROW(Solid::prism({0., 1., 1.}, {0., 0., 1.}, 1., 0.), Error);
}

} // namespace
