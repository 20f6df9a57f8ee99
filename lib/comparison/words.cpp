#include "comparison/words.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "report/summary.h"

namespace gradhealth {
namespace {

/// |log(after / before)|; -1 if one of them is missing, infinite if only one of them is 0.
double change(const ComparedNumber& number) {
  if (!number.before || !number.after) return -1;
  if (*number.before == *number.after) return 0;
  return std::abs(std::log(std::abs(*number.after)) - std::log(std::abs(*number.before)));
}

}  // namespace

std::string number_or_none(const std::optional<double>& value) { return value ? number(*value) : "none"; }

std::string factor_text(const ComparedNumber& number) {
  if (!number.before || !number.after || !(*number.before > 0)) return "";
  return fmt::format("{:.3g}", *number.after / *number.before);
}

std::vector<ComparedNumber> most_changed_first(std::vector<ComparedNumber> numbers) {
  std::stable_sort(numbers.begin(), numbers.end(),
                   [](const ComparedNumber& a, const ComparedNumber& b) { return change(a) > change(b); });
  return numbers;
}

}  // namespace gradhealth
