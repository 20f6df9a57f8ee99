#include "rules/support/validation_loss.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <string_view>

namespace gradhealth::rules {
namespace {

bool says_validation_loss(const std::string& name) {
  std::string plain;
  for (const char c : name)
    if (std::isalpha(static_cast<unsigned char>(c)) != 0)
      plain.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  static constexpr std::array<std::string_view, 7> kNames{"devloss",   "evalloss", "evaluationloss", "testloss",
                                                          "validloss", "valloss",  "validationloss"};
  return std::find(kNames.begin(), kNames.end(), plain) != kNames.end();
}

}  // namespace

double ValidationLoss::observe(const Run& run, const StepRecord& record) {
  const auto& names = run.of(Axis::kNamed);
  for (; looked_at_ < names.size() && !index_; ++looked_at_) {
    if (!says_validation_loss(names[looked_at_].name)) continue;
    index_ = looked_at_;
    name_ = names[looked_at_].name;
  }
  return index_ ? record.at(Quantity::kNamedValue, *index_) : NAN;
}

}  // namespace gradhealth::rules
