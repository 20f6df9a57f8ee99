#include "report/json.h"

#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include "report/summary.h"

namespace gradhealth {
namespace {

constexpr int kSchemaVersion = 1;

// Declared before the template that calls them.
Json to_json(const Effect& effect);
Json to_json(const Evidence& evidence);
Json to_json(const ModelReport& model);
Json to_json(const OptionInfo& option);
Json to_json(const Recommendation& advice);
Json to_json(const Rule& rule);
Json to_json(const SkippedRule& rule);
Json to_json(const SuppressedFinding& suppressed);
Json to_json(const Suppression& suppression);

template <typename T>
Json to_json_list(const std::vector<T>& values) {
  Json list = Json::array();
  for (const T& value : values) list.push_back(to_json(value));
  return list;
}

Json numbers(const std::vector<double>& values) {
  Json list = Json::array();
  for (const double value : values) list.push_back(json_number(value));
  return list;
}

Json to_json(const Evidence& evidence) {
  Json json = {{"what", evidence.what},
               {"observed", json_number(evidence.observed)},
               {"threshold", json_number(evidence.threshold)},
               {"relation", evidence.relation},
               {"quantity", nullptr},
               {"subject", evidence.subject}};
  if (evidence.quantity) {
    const QuantityInfo& quantity = info(*evidence.quantity);
    json["quantity"] = std::string(name(quantity.axis)) + "/" + std::string(quantity.name);
  }
  return json;
}

Json to_json(const Recommendation& advice) {
  Json values = Json::object();
  for (const auto& [key, list] : advice.values) values[key] = numbers(list);
  return {{"id", advice.id},
          {"text", advice.text},
          {"why", advice.why},
          {"code", advice.code},
          {"confidence", json_number(advice.confidence)},
          {"values", values}};
}

Json to_json(const DiagnosedFinding& diagnosed, bool several_models) {
  const Finding& f = diagnosed.finding;
  Json consequences = Json::array();
  for (const DiagnosedFinding& one : diagnosed.consequences) consequences.push_back(to_json(one, several_models));
  return {{"rule", f.rule},
          {"title", rule_title(f.rule)},
          {"severity", name(f.severity)},
          {"confidence", json_number(f.confidence)},
          {"subject", subject_label(f.subject, several_models)},
          {"subject_parts", {{"model", f.subject.model}, {"module", f.subject.module}, {"name", f.subject.name}}},
          {"first_step", f.first_step},
          {"last_step", f.last_step},
          {"message", f.message},
          {"evidence", to_json_list(f.evidence)},
          {"recommendations", to_json_list(f.recommendations)},
          {"consequences", consequences}};
}

Json to_json(const SkippedRule& rule) { return {{"rule", rule.rule}, {"reason", rule.reason}}; }

Json to_json(const SuppressedFinding& suppressed) {
  return {{"rule", suppressed.finding.rule},
          {"severity", name(suppressed.finding.severity)},
          {"subject", subject_label(suppressed.finding.subject, false)},
          {"first_step", suppressed.finding.first_step},
          {"last_step", suppressed.finding.last_step},
          {"message", suppressed.finding.message},
          {"reason", suppressed.reason}};
}

Json to_json(const Suppression& suppression) {
  return {{"rule", suppression.rule},
          {"subject", suppression.subject},
          {"reason", suppression.reason},
          {"expires", suppression.expires}};
}

Json to_json(const ModelReport& model) {
  const RunInfo& run = model.run.info;
  const auto optional = [](const std::optional<double>& value) { return value ? json_number(*value) : Json(nullptr); };
  return {{"name", run.name},
          {"verdict", name(model.diagnosis.verdict)},
          {"steps", model.diagnosis.steps},
          {"finished", model.finished},
          {"world_size", run.world_size},
          {"unfinished_ranks", model.unfinished_ranks},
          {"created_utc", run.created_utc},
          {"command_line", run.command_line},
          {"libraries", run.libraries},
          {"optimizer", run.optimizer},
          {"momentum", optional(run.momentum)},
          {"beta2", optional(run.beta2)},
          {"epsilon", optional(run.epsilon)},
          {"weight_decay", optional(run.weight_decay)},
          {"suppressed", to_json_list(model.diagnosis.suppressed)},
          {"expired_suppressions", to_json_list(model.diagnosis.expired)}};
}

Json to_json(const OptionInfo& option) {
  return {{"name", option.name},
          {"default", json_number(option.default_value)},
          {"meaning", option.meaning},
          {"source", option.source}};
}

Json to_json(const Effect& effect) {
  return {{"rule", effect.rule}, {"reach", effect.reach == Reach::kSameModule ? "same module" : "anywhere"}};
}

Json to_json(const Rule& rule) {
  const RuleInfo& info = rule.info;
  return {{"id", info.id},
          {"title", info.title},
          {"essential", info.essential},
          {"meaning", info.meaning},
          {"method", info.method},
          {"limits", info.limits},
          {"options", to_json_list(info.options)},
          {"references", info.references},
          {"effects", to_json_list(info.effects)}};
}

}  // namespace

Json evidence_json(const Finding& finding) { return to_json_list(finding.evidence); }

Json recommendations_json(const Finding& finding) { return to_json_list(finding.recommendations); }

Json json_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

std::string dump(const Json& json, int indent) { return json.dump(indent, ' ', true, Json::error_handler_t::replace); }

Json to_json(const Report& report) {
  const Summary summary = summarize(report);
  Json diagnoses = Json::array();
  for (const DiagnosedFinding* root : summary.roots) diagnoses.push_back(to_json(*root, summary.several_models));
  return {{"schema_version", kSchemaVersion},
          {"run", report.run},
          {"verdict", name(summary.verdict)},
          {"undecided_because", summary.undecided_because},
          {"finished", summary.finished},
          {"steps", summary.steps},
          {"rules_evaluated", summary.rules_evaluated},
          {"rules_total", summary.rules_total},
          {"diagnoses", diagnoses},
          {"passed", summary.passed},
          {"not_evaluated", to_json_list(summary.not_evaluated)},
          {"models", to_json_list(report.models)}};
}

void write_json(std::ostream& out, const Report& report) { out << dump(to_json(report), 2) << '\n'; }

void write_json(std::ostream& out, const std::vector<Report>& reports) {
  Json runs = Json::array();
  for (const Report& report : reports) runs.push_back(to_json(report));
  const Json json = {{"schema_version", kSchemaVersion}, {"verdict", name(verdict(reports))}, {"runs", runs}};
  out << dump(json, 2) << '\n';
}

void write_rules_json(std::ostream& out, const std::vector<Rule>& rules) {
  out << dump({{"schema_version", kSchemaVersion}, {"rules", to_json_list(rules)}}, 2) << '\n';
}

}  // namespace gradhealth
