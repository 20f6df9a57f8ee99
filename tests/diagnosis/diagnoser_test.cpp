#include <cmath>
#include <string>

#include <gradhealth/diagnosis.h>
#include <gradhealth/errors.h>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;

namespace {

/// Always gives the same outcome.
class Fixed final : public Judge {
 public:
  explicit Fixed(Outcome outcome) : outcome_(std::move(outcome)) {}
  void observe(const Run&, const StepRecord&) override { ++steps_; }
  Outcome outcome() const override { return outcome_; }
  std::size_t alarms() const override { return steps_ > 0 ? 1 : 0; }

 private:
  Outcome outcome_;
  std::size_t steps_ = 0;
};

struct Spec {
  std::string id;
  std::vector<Effect> effects;
  std::optional<Severity> severity;
  std::int64_t onset = 0;
  std::string module{};
  bool essential = false;
};

Rule rule_of(const Spec& spec) {
  Rule rule;
  rule.info.id = spec.id;
  rule.info.effects = spec.effects;
  rule.info.essential = spec.essential;
  Outcome outcome = Healthy{};
  if (spec.severity) {
    Finding finding;
    finding.rule = spec.id;
    finding.severity = *spec.severity;
    finding.first_step = finding.last_step = spec.onset;
    finding.subject.module = spec.module;
    outcome = Unhealthy{{finding}};
  }
  rule.make_judge = [outcome](const RuleOptions&) { return std::make_unique<Fixed>(outcome); };
  return rule;
}

Diagnosis diagnose(const std::vector<Spec>& specs) {
  std::vector<Rule> rules;
  for (const Spec& spec : specs) rules.push_back(rule_of(spec));
  Diagnoser diagnoser({}, rules);
  diagnoser.observe({}, {});
  return diagnoser.diagnosis();
}

constexpr auto kError = Severity::kError;
constexpr auto kWarning = Severity::kWarning;

}  // namespace

TEST_CASE("a chain of causes nests as it happened", "[diagnosis]") {
  const Diagnosis d = diagnose({{"dead", {{"flat"}}, kError, 4},
                                {"explode", {{"dead"}, {"flat"}}, kError, 1},
                                {"flat", {}, kError, 20},
                                {"input", {{"explode"}, {"dead"}, {"flat"}}, kWarning, 0}});
  REQUIRE(d.roots.size() == 1);
  CHECK(d.roots[0].finding.rule == "input");
  REQUIRE(d.roots[0].consequences.size() == 1);
  CHECK(d.roots[0].consequences[0].finding.rule == "explode");
  CHECK(d.roots[0].consequences[0].consequences.at(0).finding.rule == "dead");
  CHECK(d.roots[0].consequences[0].consequences.at(0).consequences.at(0).finding.rule == "flat");
  CHECK(d.verdict == Verdict::kUnhealthy);
}

TEST_CASE("a cause cannot begin after its effect, but onsets are estimates", "[diagnosis]") {
  CHECK(diagnose({{"a", {{"b"}}, kError, 7}, {"b", {}, kError, 4}}).roots.size() == 1);
  CHECK(diagnose({{"a", {{"b"}}, kError, 30}, {"b", {}, kError, 4}}).roots.size() == 2);
  CHECK(diagnose({{"a", {{"b"}}, kError, 1040}, {"b", {}, kError, 1000}}).roots.size() == 1);
}

TEST_CASE("of two that can cause each other the earlier one did, and nothing turns in circles", "[diagnosis]") {
  for (const std::int64_t onset : {3, 5}) {
    const Diagnosis d = diagnose({{"gradient", {{"weight"}}, kError, 4}, {"weight", {{"gradient"}}, kError, onset}});
    REQUIRE(d.roots.size() == 1);
    CHECK(d.roots[0].finding.rule == (onset == 3 ? "weight" : "gradient"));
    CHECK(d.roots[0].consequences.size() == 1);
  }
  const Diagnosis ring = diagnose({{"a", {{"b"}}, kError, 4}, {"b", {{"c"}}, kError, 4}, {"c", {{"a"}}, kError, 4}});
  CHECK(test::flatten(ring.roots).size() == 3);
}

TEST_CASE("an effect that stays in its module needs the same module", "[diagnosis]") {
  const auto roots = [](const std::string& cause, const std::string& effect) {
    return diagnose({{"a", {{"b", Reach::kSameModule}}, kError, 0, cause}, {"b", {}, kError, 1, effect}}).roots.size();
  };
  CHECK(roots("enc", "enc") == 1);
  CHECK(roots("enc", "enc.fc1") == 1);
  CHECK(roots("", "enc") == 1);
  CHECK(roots("enc", "encoder") == 2);
  CHECK(roots("enc.fc1", "enc.fc2") == 2);
}

TEST_CASE("roots are ordered by the worst of their tree, then by onset", "[diagnosis]") {
  const Diagnosis d =
      diagnose({{"a", {}, kWarning, 0}, {"b", {}, kError, 9}, {"c", {{"z"}}, kWarning, 2}, {"z", {}, kError, 5}});
  REQUIRE(d.roots.size() == 3);
  CHECK(d.roots[0].finding.rule == "c");
  CHECK(d.roots[1].finding.rule == "b");
  CHECK(d.roots[2].finding.rule == "a");
}

TEST_CASE("information causes nothing that is worse", "[diagnosis]") {
  CHECK(diagnose({{"a", {{"b"}}, Severity::kInfo, 0}, {"b", {}, kError, 1}}).roots.size() == 2);
}

TEST_CASE("the verdict needs an error to be unhealthy and evidence to be healthy", "[diagnosis]") {
  CHECK(diagnose({{"a", {}, kWarning, 0, "", true}}).verdict == Verdict::kHealthy);
  CHECK(diagnose({{"a", {}, kError, 0}}).verdict == Verdict::kUnhealthy);
  CHECK(Diagnoser().diagnosis().verdict == Verdict::kUndecided);
  CHECK_FALSE(Diagnoser().diagnosis().undecided_because.empty());

  Rule blind = rule_of({"a", {}, std::nullopt, 0, "", true});
  blind.make_judge = [](const RuleOptions&) { return std::make_unique<Fixed>(NotEvaluated{"no loss"}); };
  Diagnoser diagnoser({}, {blind, rule_of({"b", {}, std::nullopt})});
  diagnoser.observe({}, {});
  const Diagnosis d = diagnoser.diagnosis();
  CHECK(d.verdict == Verdict::kUndecided);
  CHECK(d.undecided_because.find("no loss") != std::string::npos);
  CHECK(d.passed == std::vector<std::string>{"b"});
  REQUIRE(d.not_evaluated.size() == 1);
  CHECK(d.not_evaluated[0].rule == "a");
}

TEST_CASE("settings disable rules and replace severities", "[diagnosis]") {
  const std::vector<Rule> rules{rule_of({"a", {}, kError, 0}), rule_of({"b", {}, kError, 0})};
  RuleSettings off;
  off.enabled = false;
  RuleSettings mild;
  mild.severity = Severity::kInfo;
  Diagnoser diagnoser({{{"a", off}, {"b", mild}}, {}, {}}, rules);
  diagnoser.observe({}, {});
  const Diagnosis d = diagnoser.diagnosis();
  CHECK(d.verdict == Verdict::kHealthy);
  REQUIRE(d.roots.size() == 1);
  CHECK(d.roots[0].finding.severity == Severity::kInfo);
}

TEST_CASE("unknown rules and options are refused", "[diagnosis]") {
  CHECK_THROWS_AS(Diagnoser(DiagnosisOptions{{{"dead-unit", {}}}, {}, {}}), UsageError);
  RuleSettings settings;
  settings.options = {{"error-fractoin", 0.5}};
  CHECK_THROWS_AS(Diagnoser(DiagnosisOptions{{{"dead-units", settings}}, {}, {}}), UsageError);
  settings.options = {{"error-fraction", NAN}};
  CHECK_THROWS_AS(Diagnoser(DiagnosisOptions{{{"dead-units", settings}}, {}, {}}), UsageError);
}

TEST_CASE("a live finding is told once, and again when it becomes worse", "[diagnosis]") {
  test::SyntheticRun run;
  Diagnoser diagnoser;
  std::vector<Finding> told;
  for (std::int64_t step = 0; step < 40; ++step) {
    StepRecord record = run.step(step, 2.3);
    if (step >= 25) record.set(Quantity::kActivationDeadFraction, test::SyntheticRun::relu(1), step < 30 ? 0.6 : 0.95);
    diagnoser.observe(run.run, record);
    for (Finding& finding : diagnoser.new_findings()) told.push_back(std::move(finding));
  }
  REQUIRE(told.size() == 2);
  CHECK(told[0].severity == kWarning);
  CHECK(told[1].severity == kError);
  CHECK(told[1].subject.model == "net");
  CHECK(diagnoser.new_findings().empty());
}
