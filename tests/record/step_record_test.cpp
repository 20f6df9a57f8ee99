#include <cmath>
#include <set>
#include <string>

#include <gradhealth/run.h>

#include "support/catch.h"

using gradhealth::Quantity;
using gradhealth::StepRecord;

TEST_CASE("what was not recorded reads as missing, not as zero", "[run]") {
  StepRecord record;
  record.set(Quantity::kGradientNorm, 2, 1.5);
  CHECK(std::isnan(record.at(Quantity::kGradientNorm, 0)));
  CHECK(record.at(Quantity::kGradientNorm, 2) == 1.5);
  CHECK(std::isnan(record.at(Quantity::kGradientNorm, 3)));
  CHECK(std::isnan(record.at(Quantity::kLoss)));
}

TEST_CASE("values are rounded to the precision in which they are stored", "[run]") {
  StepRecord record;
  record.set(Quantity::kGradientNorm, 0, 0.1);
  record.set(Quantity::kLoss, 0.1);
  CHECK(record.at(Quantity::kGradientNorm) == static_cast<double>(0.1f));
  CHECK(record.at(Quantity::kLoss) == 0.1);
}

TEST_CASE("a cleared record holds nothing", "[run]") {
  StepRecord record;
  record.set(Quantity::kLoss, 1);
  record.events.push_back({3, "monitor", "", "text"});
  record.clear();
  CHECK(std::isnan(record.at(Quantity::kLoss)));
  CHECK(record.events.empty());
}

TEST_CASE("every quantity has a unit, a definition and a name of its own on its axis", "[run]") {
  std::set<std::string> names;
  for (const auto& quantity : gradhealth::quantities()) {
    CAPTURE(std::string(quantity.name));
    CHECK_FALSE(quantity.unit.empty());
    CHECK_FALSE(quantity.description.empty());
    CHECK(names.insert(std::string(name(quantity.axis)) + "/" + std::string(quantity.name)).second);
    CHECK(&gradhealth::info(quantity.id) == &quantity);
  }
}
