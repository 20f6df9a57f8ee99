#include <cmath>
#include <random>

#include <gradhealth/comparison.h>
#include <gradhealth/errors.h>

#include "comparison/curves.h"
#include "report/sample.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

Curves ending_at(double loss) {
  Curves curves;
  curves.loss = [loss](int step) { return step < 50 ? 2.1 : loss; };
  return curves;
}

/// What the only root is about; empty if there is none.
std::string regression(const Curves& now, const Curves& before = {}) {
  const Report judged = against_baseline(run_of(now), run_of(before));
  const std::vector<DiagnosedFinding>& roots = judged.models[0].diagnosis.roots;
  REQUIRE(roots.size() <= 1);
  if (roots.empty()) return "";
  CHECK_FALSE(roots[0].finding.evidence.empty());
  CHECK_FALSE(roots[0].finding.recommendations.empty());
  return std::string(name(roots[0].finding.severity)) + " " + roots[0].finding.rule;
}

}  // namespace

TEST_CASE("what the baseline has, too, does not count, and that is said", "[comparison]") {
  const Report judged = against_baseline(sample::unhealthy(), sample::unhealthy());
  const Diagnosis& diagnosis = judged.models[0].diagnosis;
  CHECK(diagnosis.roots.empty());
  CHECK(diagnosis.verdict == Verdict::kHealthy);
  REQUIRE(diagnosis.suppressed.size() == 3);
  for (const SuppressedFinding& each : diagnosis.suppressed) CHECK(each.reason == "also in the baseline raw.h5");
  CHECK(gate({judged}, {}) == GateOutcome::kPass);
}

TEST_CASE("what is new or more severe counts", "[comparison]") {
  DiagnosedFinding root = found("loss-spike", Severity::kWarning, "");
  root.consequences = {found("dead-units", Severity::kError, "a")};
  const Report before = run_with({found("loss-spike", Severity::kWarning, "")});
  const Report judged = against_baseline(run_with({root}), before);
  REQUIRE(judged.models[0].diagnosis.roots.size() == 1);
  CHECK(judged.models[0].diagnosis.roots[0].finding.rule == "dead-units");
  CHECK(judged.models[0].diagnosis.verdict == Verdict::kUnhealthy);

  const Report milder = run_with({found("dead-units", Severity::kWarning, "a")});
  CHECK(against_baseline(run_with({root.consequences}), milder).models[0].diagnosis.roots.size() == 1);
  const Report other = run_with({found("dead-units", Severity::kError, "b")});
  CHECK(against_baseline(run_with({root.consequences}), other).models[0].diagnosis.roots.size() == 1);
  const Report same = run_with({found("dead-units", Severity::kError, "a", 90)});
  CHECK(against_baseline(run_with({root.consequences}), same).models[0].diagnosis.roots.empty());
}

TEST_CASE("an undecided run stays undecided", "[comparison]") {
  Report undecided = run_with({found("dead-units", Severity::kError, "a")});
  undecided.models[0].diagnosis.undecided_because = "too few steps were recorded";
  const Report judged = against_baseline(undecided, run_with({found("dead-units", Severity::kError, "a")}));
  CHECK(judged.models[0].diagnosis.verdict == Verdict::kUndecided);
}

TEST_CASE("a final loss worse by a tenth of what was learnt is a warning, by three an error", "[comparison]") {
  // The baseline has learnt 2.
  CHECK(regression(ending_at(0.1)).empty());
  CHECK(regression(ending_at(0.299)).empty());
  CHECK(regression(ending_at(0.301)) == "warning loss-regression");
  CHECK(regression(ending_at(0.699)) == "warning loss-regression");
  CHECK(regression(ending_at(0.701)) == "error loss-regression");
  CHECK(regression(ending_at(-1)).empty());
  CHECK(regression(ending_at(NAN)).empty());  // The rules tell that.
  CHECK(regression(ending_at(-1.5), ending_at(-2)) == "warning loss-regression");
}

TEST_CASE("noise of the losses is no regression", "[comparison]") {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> noise(0, 0.3);
    Curves before, now;
    before.loss = [&](int step) { return 1 + 0.5 * std::exp(-step / 20.0) + noise(generator); };
    now.loss = before.loss;
    CHECK(regression(now, before).empty());
  }
}

TEST_CASE("gradient norms ten times as large or small are told", "[comparison]") {
  const auto with_norm = [](double norm) {
    Curves curves;
    curves.gradient_norm = norm;
    return curves;
  };
  CHECK(regression(with_norm(9.9)).empty());
  CHECK(regression(with_norm(10.1)) == "warning gradient-norm-regression");
  CHECK(regression(with_norm(0.101)).empty());
  CHECK(regression(with_norm(0.099)) == "warning gradient-norm-regression");
  CHECK(regression(with_norm(0)).empty());
}

TEST_CASE("steps half as long again are told where there are enough of them", "[comparison]") {
  const auto with_time = [](double seconds, int steps) {
    Curves curves;
    curves.step_time = seconds;
    curves.steps = steps;
    curves.loss = [](int) { return 1.0; };
    return curves;
  };
  CHECK(regression(with_time(0.0149, 100), with_time(0.01, 100)).empty());
  CHECK(regression(with_time(0.0151, 100), with_time(0.01, 100)) == "warning step-time-regression");
  CHECK(regression(with_time(0.0151, 19), with_time(0.01, 100)).empty());
  CHECK(regression(with_time(0.0151, 100), with_time(0.01, 19)).empty());
  CHECK(regression(with_time(0.001, 100), with_time(0.01, 100)).empty());
}

TEST_CASE("a baseline of other models is refused", "[comparison]") {
  CHECK_THROWS_AS(against_baseline(sample::adversarial(), run_of({})), UsageError);
}
