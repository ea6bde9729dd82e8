// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ddcalogen {

using CellID = std::uint64_t;

/// One bit field of a cellID.
struct BitField {
  std::string name;
  unsigned offset = 0;
  unsigned width = 0;
  bool is_signed = false;

  CellID mask() const { return (width == 64 ? ~CellID{0} : ((CellID{1} << width) - 1)) << offset; }
  std::int64_t minimum() const { return is_signed ? -(std::int64_t{1} << (width - 1)) : 0; }
  std::int64_t maximum() const {
    const unsigned bits = is_signed ? width - 1 : width;
    return bits >= 63 ? INT64_MAX : (std::int64_t{1} << bits) - 1;
  }
  std::int64_t get(CellID cell) const {
    const CellID raw = (cell & mask()) >> offset;
    if (is_signed && (raw >> (width - 1)) != 0)
      return static_cast<std::int64_t>(raw | ~(mask() >> offset));
    return static_cast<std::int64_t>(raw);
  }
  /// Sets the field; bits of `value` that do not fit are cut off, as DD4hep does for volume identifiers (-1 -> 31).
  void set_masked(CellID& cell, std::int64_t value) const {
    cell = (cell & ~mask()) | ((static_cast<CellID>(value) << offset) & mask());
  }
};

/// Layout of a cellID in the notation of DD4hep, "name:width" or "name:offset:width" joined by commas; a negative
/// width is a signed field.
class CellIDEncoding {
public:
  CellIDEncoding() = default;
  /// @throws Error (Geometry) for text that is not an encoding or whose fields overlap.
  explicit CellIDEncoding(std::string_view description);

  const std::vector<BitField>& fields() const { return m_fields; }
  /// The field of that name, or nullptr.
  const BitField* find(std::string_view name) const;
  /// @throws Error (Geometry) if there is no such field.
  const BitField& field(std::string_view name) const;

  std::int64_t get(CellID cell, std::string_view name) const { return field(name).get(cell); }
  /// @throws Error (Geometry) for an unknown field or a value that does not fit.
  CellID set(CellID cell, std::string_view name, std::int64_t value) const;
  /// All fields in order, with their values.
  std::vector<std::pair<std::string, std::int64_t>> decode(CellID cell) const;

  /// As given.
  const std::string& text() const { return m_text; }
  /// With explicit offsets: "system:0:5,...".
  std::string canonical() const;

private:
  std::string m_text;
  std::vector<BitField> m_fields;
};

} // namespace ddcalogen
