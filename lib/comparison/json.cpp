#include <ostream>

#include <gradhealth/comparison.h>

#include "report/json.h"
#include "report/summary.h"

namespace gradhealth {
namespace {

constexpr int kSchemaVersion = 1;

Json optional(const std::optional<double>& value) { return value ? json_number(*value) : Json(nullptr); }

Json to_json(const std::vector<Finding>& findings) {
  Json list = Json::array();
  for (const Finding& each : findings)
    list.push_back({{"rule", each.rule},
                    {"title", rule_title(each.rule)},
                    {"severity", name(each.severity)},
                    {"subject", subject_label(each.subject, false)},
                    {"first_step", each.first_step},
                    {"last_step", each.last_step},
                    {"message", each.message}});
  return list;
}

Json to_json(const std::vector<ComparedNumber>& numbers) {
  Json list = Json::array();
  for (const ComparedNumber& each : numbers)
    list.push_back({{"what", each.what}, {"before", optional(each.before)}, {"after", optional(each.after)}});
  return list;
}

Json to_json(const ModelComparison& model) {
  Json settings = Json::array();
  for (const ComparedSetting& each : model.settings)
    settings.push_back({{"what", each.what}, {"before", each.before}, {"after", each.after}});
  return {{"name", model.model},
          {"resolved", to_json(model.resolved)},
          {"remaining", to_json(model.remaining)},
          {"new", to_json(model.appeared)},
          {"settings", settings},
          {"figures", to_json(model.figures)},
          {"gradient_norms", to_json(model.gradient_norms)}};
}

}  // namespace

void write_comparison_json(std::ostream& out, const Comparison& comparison) {
  Json models = Json::array();
  for (const ModelComparison& each : comparison.models) models.push_back(to_json(each));
  const Json json = {{"schema_version", kSchemaVersion},
                     {"before", {{"run", comparison.before}, {"verdict", name(comparison.verdict_before)}}},
                     {"after", {{"run", comparison.after}, {"verdict", name(comparison.verdict_after)}}},
                     {"models", models},
                     {"only_before", comparison.only_before},
                     {"only_after", comparison.only_after}};
  out << dump(json, 2) << '\n';
}

}  // namespace gradhealth
