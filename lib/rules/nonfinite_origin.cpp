#include "rules/nonfinite_origin.h"

#include <map>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace gradhealth::rules {
namespace {

using Fields = std::map<std::string, std::string, std::less<>>;

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const auto end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

Fields fields_of(const std::string& text) {
  Fields fields;
  for (const std::string& pair : split(text, ' '))
    if (const auto equals = pair.find('='); equals != std::string::npos)
      fields.try_emplace(pair.substr(0, equals), pair.substr(equals + 1));
  return fields;
}

std::string field(const Fields& fields, std::string_view key) {
  const auto found = fields.find(key);
  return found == fields.end() ? "" : found->second;
}

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

}  // namespace gradhealth::rules
