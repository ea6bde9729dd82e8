// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "geometry/CellIDEncoding.h"

#include "core/Error.h"

#include <charconv>

namespace ddcalogen {

namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = text.find(separator, begin);
    parts.push_back(text.substr(begin, end == std::string_view::npos ? end : end - begin));
    if (end == std::string_view::npos)
      return parts;
    begin = end + 1;
  }
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\n' || text.front() == '\t'))
    text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\n' || text.back() == '\t'))
    text.remove_suffix(1);
  return text;
}

} // namespace

CellIDEncoding::CellIDEncoding(std::string_view description) : m_text(description) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::Geometry, "malformed cellID encoding: " + what, "'" + m_text + "'",
                "fields 'name:width' or 'name:offset:width' joined by commas, 64 bits in all");
  };
  const auto number = [&](std::string_view text) {
    int value = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
    if (result.ec != std::errc{} || result.ptr != text.data() + text.size())
      fail("'" + std::string(text) + "' is not a number");
    return value;
  };
  unsigned next = 0;
  CellID used = 0;
  for (const std::string_view part : split(description, ',')) {
    const std::vector<std::string_view> words = split(trimmed(part), ':');
    if (words.size() < 2 || words.size() > 3 || trimmed(words[0]).empty())
      fail("field '" + std::string(part) + "'");
    const int offset = words.size() == 3 ? number(trimmed(words[1])) : static_cast<int>(next);
    const int width = number(trimmed(words.back()));
    const int bits = width < 0 ? (width < -64 ? 65 : -width) : width;
    if (bits == 0 || bits > 64 || offset < 0 || offset + bits > 64)
      fail("field '" + std::string(part) + "' does not fit into 64 bits");
    BitField field{std::string(trimmed(words[0])), static_cast<unsigned>(offset), static_cast<unsigned>(bits),
                   width < 0};
    if (used & field.mask())
      fail("field '" + field.name + "' overlaps another");
    if (find(field.name))
      fail("field '" + field.name + "' appears twice");
    used |= field.mask();
    next = field.offset + field.width;
    m_fields.push_back(std::move(field));
  }
}

const BitField* CellIDEncoding::find(std::string_view name) const {
  for (const BitField& field : m_fields)
    if (field.name == name)
      return &field;
  return nullptr;
}

const BitField& CellIDEncoding::field(std::string_view name) const {
  if (const BitField* field = find(name))
    return *field;
  throw Error(ErrorKind::Geometry, "unknown cellID field '" + std::string(name) + "'", "encoding '" + m_text + "'");
}

CellID CellIDEncoding::set(CellID cell, std::string_view name, std::int64_t value) const {
  const BitField& target = field(name);
  if (value < target.minimum() || value > target.maximum())
    throw Error(ErrorKind::Geometry, "value does not fit into cellID field '" + target.name + "'",
                std::to_string(value), std::to_string(target.minimum()) + " .. " + std::to_string(target.maximum()));
  target.set_masked(cell, value);
  return cell;
}

std::vector<std::pair<std::string, std::int64_t>> CellIDEncoding::decode(CellID cell) const {
  std::vector<std::pair<std::string, std::int64_t>> values;
  for (const BitField& field : m_fields)
    values.emplace_back(field.name, field.get(cell));
  return values;
}

std::string CellIDEncoding::canonical() const {
  std::string text;
  for (const BitField& field : m_fields)
    text += (text.empty() ? "" : ",") + field.name + ":" + std::to_string(field.offset) + ":" +
            (field.is_signed ? "-" : "") + std::to_string(field.width);
  return text;
}

} // namespace ddcalogen
