// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
/// A small invented detector: an octagonal barrel of tiles in two technologies, and two endcap plates with a hole. The
/// real detectors are tested against DD4hep in tests/python/geometry.
#include "core/Error.h"
#include "geometry/SensitiveSurfaces.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <thread>

using namespace ddcalogen;

namespace {

constexpr int staves = 8, layers = 3, rows = 4, columns = 6;
constexpr double pitch = 100., half_tile = 49., half_thickness = 0.5, radius = 500.;

const char* const barrel_encoding = "system:5,stave:4,layer:6,row:4,column:4,slice:3,x:32:-16,y:-16";
const char* const endcap_encoding = "system:5,side:2,layer:6,x:32:-16,y:-16";

/// Local z inward, local x along -phi, local y along z, as in ILD's HCAL; every second stave the other way round.
Matrix3 stave_rotation(int stave) {
  const double phi = stave * M_PI_4, c = std::cos(phi), s = std::sin(phi);
  if (stave % 2 == 0)
    return {s, 0., -c, -c, 0., -s, 0., 1., 0.}; // columns: -phi_hat, z, -r_hat
  return {0., -s, c, 0., c, s, 1., 0., 0.};     // columns: z, phi_hat, r_hat
}

DetectorTable barrel() {
  DetectorTable table;
  table.name = "Barrel";
  table.readout = "BarrelHits";
  table.encoding = barrel_encoding;
  const CartesianGridXY silicon{{"x", "y"}, 7., 7., 3.5, 3.5}, scintillator{{"x", "y"}, 14., 49., 0., 24.5};
  table.segmentation = {"slice", {{1, 1, silicon}, {2, 2, scintillator}}};
  table.hit_collections = {{"BarrelSi", "slice", 1, 1}, {"BarrelSc", "slice", 2, 2}};
  table.solids = {Solid::box({half_tile, half_tile, half_thickness})};
  const CellIDEncoding encoding(table.encoding);
  for (int stave = 0; stave < staves; ++stave) {
    table.rotations.push_back(stave_rotation(stave));
    const double phi = stave * M_PI_4;
    const Vec3 r{std::cos(phi), std::sin(phi), 0.}, along{-std::sin(phi), std::cos(phi), 0.};
    for (int layer = 0; layer < layers; ++layer)
      for (int slice = 1; slice <= 2; ++slice)
        for (int row = 0; row < rows; ++row)
          for (int column = 0; column < columns; ++column) {
            CellID id = encoding.set(1, "stave", stave);
            id = encoding.set(id, "layer", layer);
            id = encoding.set(id, "row", row);
            id = encoding.set(id, "column", column);
            id = encoding.set(id, "slice", slice);
            table.volume_id.push_back(id);
            table.rotation.push_back(static_cast<std::uint32_t>(stave));
            table.solid.push_back(0);
            table.translation_mm.push_back((radius + 10. * layer + 2. * slice) * r + ((row - 1.5) * pitch) * along +
                                           Vec3{0., 0., (column - 2.5) * pitch});
          }
  }
  return table;
}

DetectorTable endcap() {
  DetectorTable table;
  table.name = "Endcap";
  table.readout = "EndcapHits";
  table.encoding = endcap_encoding;
  table.segmentation = {"", {{0, 0, CartesianGridXY{{"x", "y"}, 10., 10., 5., 5.}}}};
  table.hit_collections = {{"EndcapHits", "", 0, 0}};
  table.rotations = {{1, 0, 0, 0, 1, 0, 0, 0, 1}, {-1, 0, 0, 0, 1, 0, 0, 0, -1}};
  table.solids = {Solid::subtract(Solid::box({300., 300., 0.5}),
                                  Solid::placed(Solid::tube(0., 100., 10.), table.rotations[0], {20., 0., 0.}))};
  const CellIDEncoding encoding(table.encoding);
  for (int side = 0; side < 2; ++side)
    for (int layer = 0; layer < layers; ++layer) {
      table.volume_id.push_back(encoding.set(encoding.set(2, "side", side), "layer", layer));
      table.rotation.push_back(static_cast<std::uint32_t>(side));
      table.solid.push_back(0);
      table.translation_mm.push_back({0., 0., (side == 0 ? 1. : -1.) * (400. + 10. * layer)});
    }
  return table;
}

const SensitiveSurfaces& surfaces() {
  static const SensitiveSurfaces built({barrel(), endcap()});
  return built;
}

TEST(SensitiveSurfaces, GroupsVolumesIntoPlanes) {
  const SensitiveSurfaces& s = surfaces();
  EXPECT_EQ(s.volume_count(), static_cast<std::size_t>(staves * layers * 2 * rows * columns + 2 * layers));
  EXPECT_EQ(s.plane_count(), static_cast<std::size_t>(staves * layers * 2 + 2 * layers));
  for (std::size_t i = 0; i < s.plane_count(); ++i) {
    const Plane& p = s.plane(i);
    EXPECT_NEAR(norm(p.normal), 1., 1e-12);
    EXPECT_NEAR(norm(cross(p.u_axis, p.v_axis) - p.normal), 0., 1e-12);
    EXPECT_GT(p.offset_mm, 0.);
    EXPECT_EQ(p.half_thickness_mm, half_thickness);
    if (p.detector == 0) {
      EXPECT_NEAR(p.u_axis.z, -1., 1e-12); // shower frame of a stave: (-z, phi, r)
      EXPECT_EQ(p.volume_count, static_cast<std::uint32_t>(rows * columns));
      EXPECT_NEAR(p.offset_mm, radius + 10. * p.layer + 2. * p.technology, 1e-9);
      EXPECT_NEAR(p.u_max_mm - p.u_min_mm, (columns - 1) * pitch + 2 * half_tile, 1e-9);
    } else {
      EXPECT_NEAR(p.v_axis.y, 1., 1e-12);
      EXPECT_NEAR(p.u_axis.x, p.normal.z, 1e-12);
      EXPECT_EQ(p.technology, -1);
    }
  }
  EXPECT_EQ(s.detector_index("Endcap"), 1u);
  EXPECT_THROW(s.detector_index("Muon"), Error);
  EXPECT_THROW(s.volume(s.volume_count()), Error);
}

TEST(SensitiveSurfaces, CentreLocateRoundTrip) {
  const SensitiveSurfaces& s = surfaces();
  std::mt19937_64 random(5);
  std::size_t found = 0;
  for (int i = 0; i < 40000; ++i) {
    const Plane& p = s.plane(random() % s.plane_count());
    const double u = std::uniform_real_distribution(p.u_min_mm - 5., p.u_max_mm + 5.)(random);
    const double v = std::uniform_real_distribution(p.v_min_mm - 5., p.v_max_mm + 5.)(random);
    const auto plane = static_cast<std::size_t>(&p - s.planes().data());
    const CellID cell = s.locate_in_plane(plane, u, v);
    const Vec3 point = u * p.u_axis + (v * p.v_axis + p.offset_mm * p.normal);
    EXPECT_EQ(s.locate(point), cell);
    EXPECT_EQ(s.locate(point, p.detector), cell);
    EXPECT_EQ(s.locate(point, 1 - p.detector), 0u);
    CellRectangle r;
    EXPECT_EQ(s.locate_in_plane(plane, u, v, r), cell != 0);
    EXPECT_EQ(r.cell, cell);
    if (cell == 0)
      continue;
    ++found;
    EXPECT_TRUE(r.u_low_mm <= u && u <= r.u_high_mm && r.v_low_mm <= v && v <= r.v_high_mm);
    EXPECT_TRUE(s.exists(cell));
    EXPECT_EQ(s.plane_of(cell), static_cast<std::int64_t>(plane));
    EXPECT_EQ(s.detector_of(cell), static_cast<int>(p.detector));
    EXPECT_EQ(s.collection_of(cell), p.detector == 0 ? p.technology - 1 : 0);
    std::uint32_t where = 0;
    CellRectangle same;
    ASSERT_TRUE(s.cell_rectangle(cell, where, same));
    EXPECT_EQ(where, plane);
    EXPECT_NEAR(same.u_low_mm, r.u_low_mm, 1e-9);
    EXPECT_NEAR(same.v_high_mm, r.v_high_mm, 1e-9);
    // The middle of what the volume leaves of a cell belongs to it, unless it lies in the hole.
    const CellID middle = s.locate_in_plane(plane, (r.u_low_mm + r.u_high_mm) / 2, (r.v_low_mm + r.v_high_mm) / 2);
    EXPECT_TRUE(middle == cell || (middle == 0 && p.detector == 1));
    Vec3 centre;
    ASSERT_TRUE(s.cell_centre(cell, centre));
    EXPECT_NEAR(dot(centre, p.normal), p.offset_mm, 1e-9);
    if (p.detector == 0) {
      EXPECT_EQ(s.locate(centre), cell);
    }
  }
  EXPECT_GT(found, 20000u);
}

TEST(SensitiveSurfaces, ThicknessCounts) {
  const SensitiveSurfaces& s = surfaces();
  const double r = radius + 2.;
  EXPECT_NE(s.locate({r + 0.4999, 10., 10.}), 0u);
  EXPECT_EQ(s.locate({r + 0.5001, 10., 10.}), 0u);
  EXPECT_EQ(s.locate({r - 0.5001, 10., 10.}), 0u);
}

TEST(SensitiveSurfaces, HoleAndGapsAreDead) {
  const SensitiveSurfaces& s = surfaces();
  EXPECT_EQ(s.locate({20., 0., 400.}), 0u);
  EXPECT_EQ(s.locate({119.9, 0., 400.}), 0u);
  EXPECT_NE(s.locate({120.1, 0., 400.}), 0u);
  EXPECT_NE(s.locate({-120.1, 0., -400.}), 0u); // mirrored: local x is -x there
  EXPECT_EQ(s.locate({-119.9, 0., -400.}), 0u);
  EXPECT_EQ(s.locate({radius + 2., 0., 10.}), 0u); // between two rows of tiles
}

TEST(SensitiveSurfaces, CellsInTheHoleDoNotExist) {
  const SensitiveSurfaces& s = surfaces();
  const CellIDEncoding encoding(endcap_encoding);
  const CellID volume = encoding.set(2, "layer", 1);
  const auto cell = [&](int x, int y) { return encoding.set(encoding.set(volume, "x", x), "y", y); };
  EXPECT_FALSE(s.exists(cell(2, 0)));
  EXPECT_TRUE(s.exists(cell(20, 0)));
  EXPECT_TRUE(s.exists(cell(11, 0))); // x 110 .. 120 touches the hole's edge at 120 only in one point
  EXPECT_FALSE(s.exists(cell(10, 0)));
  EXPECT_TRUE(s.exists(cell(29, 29)));
  EXPECT_FALSE(s.exists(cell(30, 0)));
  EXPECT_TRUE(s.exists(cell(-30, 0)));
  EXPECT_FALSE(s.exists(cell(-31, 0)));
  EXPECT_FALSE(s.exists(cell(-40, 0)));
  EXPECT_FALSE(s.exists(cell(20, 32000)));
  Vec3 centre;
  EXPECT_TRUE(s.cell_centre(cell(2, 0), centre)); // nominal, as DD4hep
}

TEST(SensitiveSurfaces, Neighbours) {
  const SensitiveSurfaces& s = surfaces();
  std::mt19937_64 random(6);
  for (int i = 0; i < 300; ++i) {
    const std::size_t plane = random() % s.plane_count();
    const Plane& p = s.plane(plane);
    const CellID cell = s.locate_in_plane(plane, std::uniform_real_distribution(p.u_min_mm, p.u_max_mm)(random),
                                          std::uniform_real_distribution(p.v_min_mm, p.v_max_mm)(random));
    if (cell == 0)
      continue;
    const std::vector<CellID> around = s.neighbours(cell);
    EXPECT_EQ(std::set<CellID>(around.begin(), around.end()).size(), around.size());
    for (const CellID other : around) {
      EXPECT_NE(other, cell);
      EXPECT_TRUE(s.exists(other));
      const std::vector<CellID> back = s.neighbours(other);
      EXPECT_NE(std::find(back.begin(), back.end(), cell), back.end());
    }
  }
  EXPECT_TRUE(s.neighbours(0).empty());
}

TEST(SensitiveSurfaces, VolumesInARectangle) {
  const SensitiveSurfaces& s = surfaces();
  const Plane& p = s.plane(0);
  EXPECT_EQ(s.volumes_in(0, p.u_min_mm, p.u_max_mm, p.v_min_mm, p.v_max_mm).size(), p.volume_count);
  EXPECT_EQ(s.volumes_in(0, -60., -40., 40., 60.).size(), 1u);
  EXPECT_EQ(s.volumes_in(0, -10., 10., -10., 10.).size(), 4u);
  EXPECT_TRUE(s.volumes_in(0, 1e6, 2e6, 0., 1.).empty());
}

TEST(SensitiveSurfaces, HostilePointsAndCells) {
  const SensitiveSurfaces& s = surfaces();
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  const double huge = std::numeric_limits<double>::max();
  for (const double bad : {nan, inf, -inf, huge, -huge}) {
    EXPECT_EQ(s.locate({bad, 0., 0.}), 0u);
    EXPECT_EQ(s.locate({500., bad, 0.}), 0u);
    EXPECT_EQ(s.locate({bad, bad, bad}), 0u);
    EXPECT_EQ(s.locate_in_plane(0, bad, 0.), 0u);
    EXPECT_EQ(s.locate_in_plane(0, 0., bad), 0u);
  }
  Vec3 centre;
  std::mt19937_64 random(7);
  for (int i = 0; i < 10000; ++i) {
    const CellID cell = random();
    if (!s.exists(cell))
      continue;
    EXPECT_TRUE(s.cell_centre(cell, centre));
  }
  EXPECT_FALSE(s.exists(0));
  EXPECT_EQ(s.detector_of(~CellID{0}), -1);
  EXPECT_EQ(s.collection_of(0), -1);
  EXPECT_EQ(s.plane_of(0), -1);
}

TEST(SensitiveSurfaces, ManyThreadsAtOnce) {
  const SensitiveSurfaces& s = surfaces();
  const auto work = [&s] {
    std::mt19937_64 random(8);
    std::uniform_real_distribution<double> any(-600., 600.);
    CellID sum = 0;
    for (int i = 0; i < 20000; ++i) {
      const CellID cell = s.locate({any(random), any(random), any(random)});
      sum += cell + (s.exists(cell) ? 1 : 0);
    }
    return sum;
  };
  const CellID expected = work();
  std::vector<CellID> sums(4, 0);
  {
    std::vector<std::jthread> threads;
    for (CellID& sum : sums)
      threads.emplace_back([&sum, &work] { sum = work(); });
  }
  for (const CellID sum : sums)
    EXPECT_EQ(sum, expected);
}

TEST(SensitiveSurfaces, RefusesInconsistentTables) {
  const auto broken = [](auto&& change) {
    DetectorTable table = endcap();
    change(table);
    EXPECT_THROW(SensitiveSurfaces({table}), Error);
  };
  broken([](DetectorTable& t) { t.rotation.pop_back(); });
  broken([](DetectorTable& t) { t.rotation[0] = 7; });
  broken([](DetectorTable& t) { t.solid[0] = 7; });
  broken([](DetectorTable& t) { t.rotations[0][0] = 2.; });
  broken([](DetectorTable& t) { t.rotations[0][0] = NAN; });
  broken([](DetectorTable& t) { t.translation_mm[0].x = NAN; });
  broken([](DetectorTable& t) { t.volume_id[0] |= CellID{1} << 40; });
  broken([](DetectorTable& t) { t.volume_id[0] += 1; }); // another system
  broken([](DetectorTable& t) { t.encoding = "system:5"; });
  broken([](DetectorTable& t) { t.segmentation.entries.clear(); });
  broken([](DetectorTable& t) { t.hit_collections[0].key_field = "slice"; });
  broken([](DetectorTable& t) { t.solids = {Solid::half_spaces({{0, 0, 1}}, {1.})}; });
  EXPECT_THROW(SensitiveSurfaces({endcap(), endcap()}), Error);
  EXPECT_EQ(SensitiveSurfaces(std::vector<DetectorTable>{}).locate({0., 0., 0.}), 0u);
}

} // namespace
