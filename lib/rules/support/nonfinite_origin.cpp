#include "rules/support/nonfinite_origin.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "rules/support/event_fields.h"
#include "rules/support/operators.h"

namespace gradhealth::rules {
namespace {

/// "in:fc4" → " in fc4".
std::string place_words(const std::string& place) {
  const auto colon = place.find(':');
  return colon == std::string::npos ? "" : fmt::format(" {} {}", place.substr(0, colon), place.substr(colon + 1));
}

/// ", whose input ranged from 0 to 1.5" of the finite values.
std::string range_words(const Fields& fields) {
  const bool backward = field(fields, "pass") == "backward";
  const std::vector<std::string> tensor = split(field(fields, backward ? "forward_input" : "input"), ':');
  if (tensor.size() != 7 || tensor[2] == "-") return "";
  return fmt::format(", whose {}input ranged from {} to {}", backward ? "forward " : "", tensor[2], tensor[3]);
}

std::string how_words(const Fields& fields) {
  if (field(fields, "how") == "replayed") return " (found by computing the step again)";
  if (field(fields, "how") == "late")
    return fmt::format(" (operators were looked at only after step {}, the first one that was not finite)",
                       field(fields, "since"));
  return "";
}

std::string sentence(const Event& event) {
  const Fields fields = fields_of(event.text);
  const std::string source = field(fields, "source");
  const std::string op = field(fields, "op");
  const std::string where = (op.empty() ? "an operator" : op) + place_words(field(fields, "place"));
  if (source == "operator")
    return fmt::format(" The first non-finite value was made by {}, in the {} pass of step {}{}{}.", where,
                       field(fields, "pass"), event.step, range_words(fields), how_words(fields));
  if (source == "input") {
    const std::string sample = field(fields, "sample");
    return fmt::format(" The first non-finite value came from outside the model, into {} at step {}{}{}.", where,
                       event.step, sample.empty() ? "" : ", first in sample " + sample, how_words(fields));
  }
  if (source == "parameter" || source == "buffer")
    return fmt::format(" The {} {} was not finite before step {}{}.", source, event.subject, event.step,
                       how_words(fields));
  return "";
}

}  // namespace

std::string origin_sentence(const StepRecord& record) {
  for (const Event& event : record.events)
    if (event.kind == "nonfinite-origin") return sentence(event);
  return "";
}

bool made_by_unguarded_operator(const StepRecord& record) {
  static constexpr std::array<std::string_view, 11> kUnguarded{"acos",  "asin", "atanh", "exp",        "expm1", "log",
                                                               "log10", "log2", "pow",   "reciprocal", "rsqrt"};
  for (const Event& event : record.events) {
    if (event.kind != "nonfinite-origin") continue;
    const Fields fields = fields_of(event.text);
    const std::string op = operator_name(field(fields, "op"));
    if (field(fields, "source") == "operator" &&
        std::find(kUnguarded.begin(), kUnguarded.end(), op) != kUnguarded.end())
      return true;
  }
  return false;
}

}  // namespace gradhealth::rules
