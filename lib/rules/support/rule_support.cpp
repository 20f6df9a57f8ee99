#include "rules/support/rule_support.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include <gradhealth/errors.h>

namespace gradhealth::rules {

RuleOptions resolve(const std::string& rule, const std::vector<OptionInfo>& known, const RuleOptions& given) {
  RuleOptions resolved;
  std::vector<std::string> names;
  for (const OptionInfo& option : known) {
    resolved[option.name] = option.default_value;
    names.push_back(option.name);
  }
  for (const auto& [option, value] : given) {
    const auto found = resolved.find(option);
    if (found == resolved.end())
      throw UsageError(fmt::format("rule \"{}\" has no option \"{}\"; it has {}", rule, option, list_of(names, 20)));
    if (!std::isfinite(value))
      throw UsageError(fmt::format("option \"{}\" of rule \"{}\" is not a finite number", option, rule));
    found->second = value;
  }
  return resolved;
}

OptionInfo min_steps_option(double steps) {
  return {"min-steps", steps, "Recorded steps before a run without findings is called healthy.",
          "The start-up phase that is always recorded is 20 steps; instant faults show within 10."};
}

NotEvaluated too_few_steps(std::size_t seen, double wanted) {
  return {fmt::format("needs at least {:.0f} recorded steps with the values it judges, has {}", wanted, seen)};
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  return fmt::format("{:.3g}", value);
}

std::string literal(double value) {
  std::string text = fmt::format("{:.5g}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string list_of(const std::vector<std::string>& names, std::size_t shown) {
  std::string text;
  const std::size_t count = std::min(shown, names.size());
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) text += i + 1 == names.size() ? " and " : ", ";
    text += names[i];
  }
  if (count < names.size()) text += fmt::format(" and {} more", names.size() - count);
  return text;
}

Evidence evidence(std::string what, double observed, std::string relation, double threshold,
                  std::optional<Quantity> quantity, std::string subject) {
  return {std::move(what), observed, threshold, std::move(relation), quantity, std::move(subject)};
}

Outcome unhealthy(std::vector<Finding> findings, double most) {
  std::stable_sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) {
    if (a.severity != b.severity) return a.severity > b.severity;
    return a.first_step < b.first_step;
  });
  const auto kept = static_cast<std::size_t>(std::max(most, 1.0));
  if (findings.size() > kept) {
    findings[kept - 1].message += fmt::format(" And {} more like it.", findings.size() - kept);
    findings.resize(kept);
  }
  return Unhealthy{std::move(findings)};
}

SubjectRef ref(const Subject& subject) { return {{}, subject.module, subject.name}; }

NonfiniteCount count_nonfinite(const StepRecord& record, Quantity quantity) {
  NonfiniteCount count;
  const std::vector<double>& values = record.values(quantity);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    count.recorded = true;
    if (!(values[i] > 0)) continue;
    if (count.subjects++ == 0) count.first = i;
    count.last = i;
    count.elements += values[i];
  }
  return count;
}

bool any_recorded(const StepRecord& record, Quantity quantity) {
  const std::vector<double>& values = record.values(quantity);
  return std::any_of(values.begin(), values.end(), [](double value) { return !std::isnan(value); });
}

double global_gradient_norm(const StepRecord& record) {
  const double recorded = record.at(Quantity::kGlobalGradientNorm);
  if (!std::isnan(recorded)) return recorded;
  double squares = 0;
  bool seen = false;
  for (const double norm : record.values(Quantity::kGradientNorm)) {
    if (std::isnan(norm)) continue;
    squares += norm * norm;
    seen = true;
  }
  return seen ? std::sqrt(squares) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace gradhealth::rules
