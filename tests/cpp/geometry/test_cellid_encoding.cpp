// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "core/Error.h"
#include "geometry/CellIDEncoding.h"

#include <gtest/gtest.h>

#include <random>

using namespace ddcalogen;

namespace {

const char* const hcal_barrel = "system:5,module:3,stave:4,tower:5,layer:6,slice:4,x:32:-16,y:-16";

TEST(CellIDEncoding, PlacesFieldsAsDD4hep) {
  const CellIDEncoding encoding(hcal_barrel);
  EXPECT_EQ(encoding.canonical(), "system:0:5,module:5:3,stave:8:4,tower:12:5,layer:17:6,slice:23:4,x:32:-16,y:48:-16");
  EXPECT_EQ(encoding.field("layer").offset, 17u);
  EXPECT_TRUE(encoding.field("y").is_signed);
  EXPECT_EQ(encoding.find("wafer"), nullptr);
  EXPECT_EQ(CellIDEncoding(encoding.canonical()).canonical(), encoding.canonical());
}

TEST(CellIDEncoding, RoundTripsEveryField) {
  const CellIDEncoding encoding(hcal_barrel);
  std::mt19937_64 random(1);
  for (int i = 0; i < 2000; ++i) {
    CellID cell = 0;
    std::vector<std::int64_t> values;
    for (const BitField& field : encoding.fields()) {
      std::uniform_int_distribution<std::int64_t> any(field.minimum(), field.maximum());
      values.push_back(any(random));
      cell = encoding.set(cell, field.name, values.back());
    }
    const auto decoded = encoding.decode(cell);
    ASSERT_EQ(decoded.size(), values.size());
    for (std::size_t k = 0; k < values.size(); ++k)
      EXPECT_EQ(decoded[k].second, values[k]) << decoded[k].first;
  }
}

TEST(CellIDEncoding, SetReplacesOnlyItsField) {
  const CellIDEncoding encoding(hcal_barrel);
  const CellID all = ~CellID{0};
  const CellID cell = encoding.set(all, "x", -3);
  EXPECT_EQ(encoding.get(cell, "x"), -3);
  EXPECT_EQ(encoding.get(cell, "y"), -1);
  EXPECT_EQ(encoding.get(cell, "tower"), 31);
}

TEST(CellIDEncoding, MasksNegativeVolumeIdentifiersLikeDD4hep) {
  const CellIDEncoding encoding(hcal_barrel);
  CellID cell = 0;
  encoding.field("tower").set_masked(cell, -1); // half chamber -1 of the HCAL barrel
  EXPECT_EQ(encoding.get(cell, "tower"), 31);
}

TEST(CellIDEncoding, AcceptsAFieldOfAllBits) {
  const CellIDEncoding encoding("everything:-64");
  EXPECT_EQ(encoding.get(~CellID{0}, "everything"), -1);
  EXPECT_EQ(encoding.field("everything").maximum(), INT64_MAX);
}

TEST(CellIDEncoding, RefusesMalformedText) {
  for (const char* text : {"", "system", "system:", "system:five", ":5", "a:1:2:3", "a:65", "a:60:5", "a:0", "a:-70",
                           "a:4,b:2:4", "a:4,a:4", "a:99999999999", "a:-5:4", "a:4,,b:4"})
    EXPECT_THROW(CellIDEncoding{text}, Error) << text;
}

TEST(CellIDEncoding, RefusesValuesThatDoNotFit) {
  const CellIDEncoding encoding(hcal_barrel);
  EXPECT_THROW(encoding.set(0, "tower", -1), Error);
  EXPECT_THROW(encoding.set(0, "tower", 32), Error);
  EXPECT_THROW(encoding.set(0, "x", 32768), Error);
  EXPECT_NO_THROW(encoding.set(0, "x", -32768));
  EXPECT_THROW(encoding.get(0, "cellX"), Error);
}

} // namespace
