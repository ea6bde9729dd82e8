// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "placement/LayerStacks.h"
#include "shower/Shower.h"

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

namespace ddcalogen {

/// How the energy of a grid cell reaches the real cells behind it.
enum class GridMethod : std::uint8_t {
  Overlap,     ///< shared among real cells by the area they have in common
  RandomPoint, ///< all to the cell at one random point inside the grid cell
  Nearest,     ///< all to the cell at the grid cell's centre
};

/// One shower to place.
struct ShowerToPlace {
  IncidentParticle particle;
  StackEntry entry;
  const std::vector<double>* layer_depth_mm = nullptr; ///< of the model, behind the face
};

/// Position and size of a grid in the shower frame.
struct GridGeometry {
  std::array<double, 2> cell_mm{};
  std::array<double, 2> lower_edge_mm{};
  bool follows_axis = false;
};

/// Sums energy per cell for one shower at a time; reused from shower to shower. Cells come out in the order in which
/// the shower first touched them, so that the result depends on nothing but the shower.
class CellAccumulator {
public:
  void begin(std::size_t expected_spots);
  void add(CellID cell, std::uint32_t detector, double energy_gev, double time_ns, const Vec3& position_mm);
  /// Appends the shower's cells to `out` and closes the shower there.
  void finish(CellDeposits& out);

private:
  struct Slot {
    CellID cell = 0;
    double energy = 0., energy_time = 0., energy_x = 0., energy_y = 0., energy_z = 0.;
    std::uint32_t detector = 0;
  };
  void grow();

  std::vector<Slot> m_slots;
  std::vector<std::uint32_t> m_table; ///< slot number + 1, 0 for free; a power of two in size
  unsigned m_shift = 64;
};

/// Spots and grids -> cells of the detector, with exact energy accounting.
///
/// A model's layer l is put on the l-th plane that the particle can still reach. Where that plane lies deeper or less
/// deep behind the entry than in the model, the spot moves along the shower axis by the difference.
class Placer {
public:
  explicit Placer(std::shared_ptr<const LayerStacks> stacks) : m_stacks(std::move(stacks)) {}

  const LayerStacks& stacks() const { return *m_stacks; }

  EnergyAccount place(const ShowerToPlace& shower, const SpotView& spots, CellAccumulator& cells,
                      CellDeposits& out) const;

  /// `uniform`: fills an array with random numbers in (0, 1); only called for RandomPoint.
  EnergyAccount place(const ShowerToPlace& shower, const GridView& grid, const GridGeometry& geometry,
                      GridMethod method, const std::function<void(float*, std::size_t)>& uniform,
                      CellAccumulator& cells, CellDeposits& out) const;

private:
  std::shared_ptr<const LayerStacks> m_stacks;
};

} // namespace ddcalogen
