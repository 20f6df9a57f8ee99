#include <string>
#include <vector>

#include <gradhealth/diagnosis.h>
#include <gradhealth/errors.h>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;

namespace {

/// Two dead layers, fc1 and fc2.
Diagnosis diagnose(const DiagnosisOptions& options) {
  return test::diagnose(
      test::SyntheticRun(), 40, test::learning,
      [](StepRecord& record) {
        if (record.step < 19) return;
        record.set(Quantity::kActivationDeadFraction, test::SyntheticRun::relu(1), 0.95);
        record.set(Quantity::kActivationDeadFraction, test::SyntheticRun::relu(2), 0.95);
      },
      options);
}

std::vector<std::string> dead_modules(const Diagnosis& diagnosis) {
  std::vector<std::string> modules;
  for (const Finding& finding : test::flatten(diagnosis.roots))
    if (finding.rule == "dead-units") modules.push_back(finding.subject.module);
  return modules;
}

}  // namespace

TEST_CASE("a suppressed finding is kept apart with its reason and counts for nothing", "[diagnosis]") {
  DiagnosisOptions options;
  options.suppressions = {{"dead-units", "fc*", "pruned", ""}};
  const Diagnosis diagnosis = diagnose(options);
  CHECK(dead_modules(diagnosis).empty());
  REQUIRE(diagnosis.suppressed.size() == 2);
  CHECK(diagnosis.suppressed[0].finding.rule == "dead-units");
  CHECK(diagnosis.suppressed[0].reason == "pruned");
  CHECK(diagnose({}).verdict == Verdict::kUnhealthy);
  CHECK(diagnosis.verdict != Verdict::kUnhealthy);
  CHECK(diagnosis.expired.empty());
}

TEST_CASE("a suppression holds for what its glob matches", "[diagnosis]") {
  DiagnosisOptions options;
  options.suppressions = {{"dead-units", "fc1", "pruned", ""}};
  CHECK(dead_modules(diagnose(options)) == std::vector<std::string>{"fc2"});
  options.suppressions = {{"dead-units", "fc2:relu", "pruned", ""}};
  CHECK(dead_modules(diagnose(options)) == std::vector<std::string>{"fc1"});
  options.suppressions = {{"exploding-gradient", "*", "known", ""}};
  CHECK(dead_modules(diagnose(options)).size() == 2);
}

TEST_CASE("a suppression holds until the end of its last day, and is told afterwards", "[diagnosis]") {
  DiagnosisOptions options;
  options.suppressions = {{"dead-units", "*", "pruned", "2026-11-25"}};
  options.today = "2026-11-25";
  CHECK(dead_modules(diagnose(options)).empty());
  options.today = "2026-11-26";
  const Diagnosis later = diagnose(options);
  CHECK(dead_modules(later).size() == 2);
  REQUIRE(later.expired.size() == 1);
  CHECK(later.expired[0].reason == "pruned");
  options.today.clear();
  CHECK(dead_modules(diagnose(options)).empty());
}

TEST_CASE("subjects keep a rule to the modules that they match", "[diagnosis]") {
  DiagnosisOptions options;
  options.rules["dead-units"].subjects = {"fc2"};
  CHECK(dead_modules(diagnose(options)) == std::vector<std::string>{"fc2"});
  options.rules["dead-units"].subjects = {"conv*"};
  const Diagnosis none = diagnose(options);
  CHECK(dead_modules(none).empty());
  CHECK(std::count(none.passed.begin(), none.passed.end(), "dead-units") == 1);
}

TEST_CASE("suppressions without a reason, of unknown rules or with wrong dates are refused", "[diagnosis]") {
  DiagnosisOptions options;
  options.suppressions = {{"dead-units", "*", "", ""}};
  CHECK_THROWS_AS(Diagnoser(options), UsageError);
  options.suppressions = {{"dead-unit", "*", "x", ""}};
  CHECK_THROWS_AS(Diagnoser(options), UsageError);
  options.suppressions = {{"dead-units", "*", "x", "tomorrow"}};
  CHECK_THROWS_AS(Diagnoser(options), UsageError);
}

TEST_CASE("a rule of one's own is judged and linked like the others", "[diagnosis]") {
  std::vector<Rule> rules = catalogue();
  RuleInfo info;
  info.id = "cold-room";
  info.effects = {{"dead-units"}};
  rules.push_back(make_rule(info, [](const Run&, const StepRecord& record) -> std::optional<Finding> {
    if (record.step < 5) return std::nullopt;
    Finding finding;
    finding.severity = record.step < 10 ? Severity::kWarning : Severity::kError;
    finding.message = "It is cold.";
    return finding;
  }));
  Diagnoser diagnoser({}, rules);
  test::SyntheticRun run;
  for (std::int64_t step = 0; step < 40; ++step) {
    StepRecord record = run.step(step, 2.3);
    if (step >= 25) record.set(Quantity::kActivationDeadFraction, test::SyntheticRun::relu(1), 0.95);
    diagnoser.observe(run.run, record);
  }
  const Diagnosis diagnosis = diagnoser.diagnosis();
  REQUIRE(!diagnosis.roots.empty());
  const Finding& cold = diagnosis.roots[0].finding;
  CHECK(cold.rule == "cold-room");
  CHECK(cold.first_step == 5);
  CHECK(cold.last_step == 39);
  CHECK(cold.severity == Severity::kError);
  REQUIRE(diagnosis.roots[0].consequences.size() == 1);
  CHECK(diagnosis.roots[0].consequences[0].finding.rule == "dead-units");
}
