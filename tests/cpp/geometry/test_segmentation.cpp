// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "core/Error.h"
#include "geometry/Segmentation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

using namespace ddcalogen;

namespace {

const CellIDEncoding encoding("system:5,layer:6,wafer:6,slice:4,x:32:-16,y:-16");

CellID volume(int layer, int wafer, int slice = 0) {
  return encoding.set(encoding.set(encoding.set(20, "layer", layer), "wafer", wafer), "slice", slice);
}

std::pair<std::int64_t, std::int64_t> index_of(const Grid& grid, double x, double y, CellID id = 20) {
  return grid.decode(grid.cell(id, x, y));
}

using Index = std::pair<std::int64_t, std::int64_t>;

TEST(Segmentation, CartesianCellsAreCentredOnTheirOffset) {
  const Grid grid = resolve_grid(CartesianGridXY{{"x", "y"}, 5., 30., 0., 15.}, encoding, 20);
  EXPECT_EQ(index_of(grid, 0., 15.), Index(0, 0));
  EXPECT_EQ(index_of(grid, -2.4, 0.1), Index(0, 0));
  EXPECT_EQ(index_of(grid, -2.6, -0.1), Index(-1, -1));
  EXPECT_EQ(index_of(grid, 2.5, 30.), Index(1, 1)); // the lower edge belongs to the cell
}

TEST(Segmentation, MegatileTruncatesTowardsZero) {
  const MegatileLayerGridXY tiles{{"x", "y"},
                                  "layer",
                                  "wafer",
                                  {5., 9., -45., -45.},
                                  {{3, 27, {5., 45., -31., -45.}}, {7, -1, {10., 9., -45., -45.}}}};
  const Grid common = resolve_grid(tiles, encoding, volume(3, 1));
  EXPECT_EQ(index_of(common, -45., -45.), Index(0, 0));
  EXPECT_EQ(index_of(common, 44.9, 44.9), Index(17, 9));
  // A special tile whose corner lies inside a normal wafer: cell 0 takes both sides of the corner.
  const Grid special = resolve_grid(tiles, encoding, volume(3, 27));
  EXPECT_EQ(index_of(special, -30., 0.), Index(0, 1));
  EXPECT_EQ(index_of(special, -35., 0.), Index(0, 1));
  EXPECT_EQ(index_of(special, -36.1, 0.), Index(-1, 1));
  EXPECT_EQ(special.x.edges(0), std::pair(-36., -26.));
  EXPECT_EQ(special.x.edges(-1), std::pair(-41., -36.));
  EXPECT_EQ(special.x.edges(1), std::pair(-26., -21.));
  // A tile for all wafers of a layer.
  EXPECT_EQ(resolve_grid(tiles, encoding, volume(7, 5)).x.size, 10.);
  EXPECT_EQ(resolve_grid(tiles, encoding, volume(8, 27)), common);
}

TEST(Segmentation, TiledLayersShiftAndCorrectTheirEdgeTiles) {
  // Two tiles of 30 mm fit into 68 mm: offset by half a tile, edge tiles of (68 - 30) / 2 = 19 mm.
  const TiledLayerGridXY tiles{{"x", "y"}, "layer", 30., 20., 0., 0., {0., 1.}, {34., 60.}, {19., 30.}};
  const Grid first = resolve_grid(tiles, encoding, volume(1, 0));
  EXPECT_EQ(index_of(first, 16., 0.), Index(1, 0));
  EXPECT_EQ(first.x.centre(0), 0.);
  EXPECT_EQ(first.x.centre(1), 34. - 19. / 2);
  EXPECT_EQ(first.x.centre(-1), -(34. - 19. / 2));
  const Grid second = resolve_grid(tiles, encoding, volume(2, 0));
  EXPECT_EQ(index_of(second, 1., 0.), Index(0, 0));
  EXPECT_EQ(index_of(second, -1., 0.), Index(-1, 0));
  EXPECT_EQ(second.x.centre(1), 45.);
  // Layers outside the lists use the plain offset.
  EXPECT_EQ(resolve_grid(tiles, encoding, volume(3, 0)).x.offset, 0.);
  EXPECT_EQ(resolve_grid(tiles, encoding, volume(0, 0)).x.offset, 0.);
}

TEST(Segmentation, PolarCells) {
  const Grid grid = resolve_grid(PolarGridRPhi{{"x", "y"}, 2., 0.1, 80., 0.05}, encoding, 20);
  const auto [r, phi] = index_of(grid, 85. * std::cos(1.), 85. * std::sin(1.));
  EXPECT_EQ(r, 3);
  EXPECT_EQ(phi, 10);
  const CellID cell = grid.cell(20, 85. * std::cos(1.), 85. * std::sin(1.));
  const auto [x, y] = grid.centre(cell);
  EXPECT_NEAR(std::hypot(x, y), 86., 1e-9);
  EXPECT_NEAR(std::atan2(y, x), 1.05, 1e-9);
  const LocalRectangle box = grid.rectangle(r, phi);
  EXPECT_LE(box.x_low, 87. * std::cos(1.1));
  EXPECT_GE(box.y_high, 87. * std::sin(1.09));
  EXPECT_GE(grid.rectangle(3, 15).y_high, 87. - 1e-9); // holds the azimuth pi/2: the arc sticks out of its corners
}

/// Whatever the grid: a point lies within the edges of its own index, and those of neighbours meet.
TEST(Segmentation, EdgesEncloseThePoint) {
  const MegatileLayerGridXY tiles{{"x", "y"}, "layer", "wafer", {5.0883, 9., -31.03, -45.}, {}};
  const CartesianGridXY cartesian{{"x", "y"}, 5.0883, 30.3248, 0.3, 15.};
  std::mt19937_64 random(4);
  std::uniform_real_distribution<double> x(-200., 200.);
  for (const GridSegmentation& segmentation : {GridSegmentation(tiles), GridSegmentation(cartesian)}) {
    const Grid grid = resolve_grid(segmentation, encoding, 20);
    for (int i = 0; i < 5000; ++i) {
      const double px = x(random);
      const auto index = grid.x.index(px);
      const auto [low, high] = grid.x.edges(index);
      EXPECT_GE(px, low - 1e-9);
      EXPECT_LE(px, high + 1e-9);
      EXPECT_NEAR(grid.x.edges(index + 1).first, high, 1e-9);
    }
  }
}

TEST(Segmentation, IndicesThatDoNotFitAreNoCell) {
  const CellIDEncoding narrow("system:5,x:2,y:3");
  const Grid grid = resolve_grid(CartesianGridXY{{"x", "y"}, 1., 1., 0., 0.}, narrow, 1);
  EXPECT_NE(grid.cell(1, 3., 7.), 0u);
  EXPECT_EQ(grid.cell(1, 4., 0.), 0u);
  EXPECT_EQ(grid.cell(1, -1., 0.), 0u);
}

TEST(Segmentation, EntryIsChosenByKey) {
  const CartesianGridXY grid{{"x", "y"}, 5., 5., 0., 0.};
  const Segmentation segmentation{"slice", {{4, 4, grid}, {10, 11, grid}}};
  EXPECT_EQ(entry_of(segmentation, encoding, volume(0, 0, 4)), 0u);
  EXPECT_EQ(entry_of(segmentation, encoding, volume(0, 0, 11)), 1u);
  EXPECT_THROW(entry_of(segmentation, encoding, volume(0, 0, 5)), Error);
}

TEST(Segmentation, RefusesNonsense) {
  const auto bad = [](const Segmentation& s) { EXPECT_THROW(validate(s, encoding, "Readout"), Error); };
  const CartesianGridXY good{{"x", "y"}, 5., 5., 0., 0.};
  EXPECT_NO_THROW(validate({"", {{0, 0, good}}}, encoding, "Readout"));
  bad({"", {}});
  bad({"", {{0, 0, good}, {1, 1, good}}});
  bad({"nofield", {{0, 0, good}}});
  bad({"", {{0, 0, CartesianGridXY{{"x", "y"}, 0., 5., 0., 0.}}}});
  bad({"", {{0, 0, CartesianGridXY{{"x", "y"}, 5., NAN, 0., 0.}}}});
  bad({"", {{0, 0, CartesianGridXY{{"x", "x"}, 5., 5., 0., 0.}}}});
  bad({"", {{0, 0, CartesianGridXY{{"x", "row"}, 5., 5., 0., 0.}}}});
  bad({"", {{0, 0, MegatileLayerGridXY{{"x", "y"}, "layer", "wafer", {5., 5., 0., 0.}, {{1, 1, {0., 5., 0., 0.}}}}}}});
  bad({"", {{0, 0, MegatileLayerGridXY{{"x", "y"}, "layer", "tile", {5., 5., 0., 0.}, {}}}}});
  bad({"", {{0, 0, PolarGridRPhi{{"x", "y"}, 2., -1., 0., 0.}}}});
}

} // namespace
