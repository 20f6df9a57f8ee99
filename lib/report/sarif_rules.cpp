#include "report/sarif_rules.h"

#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "report/escape.h"
#include "report/summary.h"

namespace gradhealth {
namespace {

constexpr std::size_t kLongestDescription = 1024;  ///< GitHub's limit.

Json text(std::string_view text) { return {{"text", shortened(text, kLongestDescription)}}; }

Json help(const RuleInfo& rule) {
  std::string plain = rule.meaning + "\n\nHow it is judged: " + rule.method + "\n\nLimits: " + rule.limits;
  std::string marked = markdown(rule.meaning) + "\n\n**How it is judged.** " + markdown(rule.method) +
                       "\n\n**Limits.** " + markdown(rule.limits);
  if (!rule.options.empty()) {
    plain += fmt::format("\n\nOptions, in [rules.{}]:", rule.id);
    marked += "\n\n| option | default | meaning |\n| --- | --- | --- |";
  }
  for (const OptionInfo& option : rule.options) {
    plain += fmt::format("\n{} = {}: {}", option.name, number(option.default_value), option.meaning);
    marked += fmt::format("\n| `{}` | {} | {} |", option.name, number(option.default_value), markdown(option.meaning));
  }
  return {{"text", plain}, {"markdown", marked}};
}

/// "DeadUnits" for "dead-units".
std::string pascal_case(const std::string& id) {
  std::string out;
  for (const char c : id) {
    const bool begins = out.empty() || out.back() == '-';
    if (begins && !out.empty()) out.pop_back();
    out += begins && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  return out;
}

/// An id of one word is its own friendly name: SARIF wants none that differs in case alone.
Json named(const std::string& id) {
  Json json = {{"id", id}};
  if (id.find('-') != std::string::npos) json["name"] = pascal_case(id);
  return json;
}

Json descriptor(const RuleInfo& rule) {
  Json json = named(rule.id);
  json.update({{"shortDescription", text(rule.title)},
               {"fullDescription", text(rule.meaning)},
               {"help", help(rule)},
               {"properties", {{"tags", {"training"}}}}});
  return json;
}

/// A rule that the catalogue does not have documents itself in the program that made it.
Json unknown(const std::string& id) {
  const Json words = text("Not of the catalogue: a rule of one's own, or a comparison with a baseline: " + printable(id));
  return {{"id", id}, {"shortDescription", words}, {"fullDescription", words}, {"help", words}};
}

}  // namespace

SarifRules::SarifRules() {
  for (const Rule& rule : catalogue()) {
    places_[rule.info.id] = rules_.size();
    rules_.push_back(descriptor(rule.info));
  }
}

std::size_t SarifRules::index(const std::string& rule) {
  const auto [place, added] = places_.emplace(rule, rules_.size());
  if (added) rules_.push_back(unknown(rule));
  return place->second;
}

Json SarifRules::notifications() {
  Json list = Json::array();
  for (const auto& [id, what] : {std::pair{"undecided", "Too little was seen of a run for a verdict."},
                                 std::pair{"not-evaluated", "A rule could not be evaluated."},
                                 std::pair{"expired-suppression", "A suppression no longer holds."}}) {
    list.push_back(named(id));
    list.back().update({{"shortDescription", text(what)}, {"fullDescription", text(what)}, {"help", text(what)}});
  }
  return list;
}

}  // namespace gradhealth
