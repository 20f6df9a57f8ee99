#include <cmath>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

const std::string kRule = "exploding-gradient";

Fault growing(std::int64_t from, double factor, std::int64_t to = 1000000) {
  return [=](StepRecord& record) {
    if (record.step < from || record.step >= to) return;
    record.set(Quantity::kGlobalGradientNorm, factor * record.at(Quantity::kGlobalGradientNorm));
    record.set(Quantity::kGradientNorm, 2, factor);
  };
}

Loss rising(std::int64_t from, double level) {
  return [=](std::int64_t step) { return step >= from ? level : learning(step); };
}

}  // namespace

TEST_CASE("gradients far above the run's own, with a loss that rises, are an error", "[rules][exploding-gradient]") {
  SyntheticOptions quiet;
  quiet.noise = 0.01;
  const auto with = [&](double factor, double level) {
    return judge(kRule, SyntheticRun(quiet), 50, rising(210, level), growing(200, factor));
  };
  CHECK(is(with(11, 8), Severity::kError));
  CHECK(is_healthy(with(9, 8)));
  CHECK(is_healthy(with(11, 6)));  // 3 · 2.3 = 6.9
  const Finding finding = first_finding(with(11, 8));
  CHECK(finding.first_step == 200);
  CHECK(finding.subject.name == "fc1.weight");
  REQUIRE(finding.recommendations.at(0).id == "clip-gradients");
  // sqrt(8)·0.2 = 0.566 is the healthy norm of every step.
  CHECK(std::abs(finding.recommendations[0].values.at(0).second.at(0) - 0.566) < 0.02);
  CHECK(finding.recommendations[0].confidence >= 0.5);
}

TEST_CASE("without a healthy window the advice is a guess and says so", "[rules][exploding-gradient]") {
  const Outcome outcome = judge(
      kRule, SyntheticRun(), 6, [](std::int64_t step) { return step == 0 ? 9.0 : 1e5; },
      [](StepRecord& record) { record.set(Quantity::kUpdateRatio, 0, 200); });
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 0);
  for (const Recommendation& advice : first_finding(outcome).recommendations) {
    CHECK(advice.confidence < 0.5);
    CHECK(advice.text.find("guess") != std::string::npos);
  }
}

TEST_CASE("large gradients without a consequence are healthy", "[rules][exploding-gradient]") {
  CHECK(is_healthy(judge(kRule, SyntheticRun(), 60, learning, growing(200, 1000))));
  CHECK(is_healthy(judge(kRule, SyntheticRun(), 60, learning, growing(0, 1e6))));
  // Early layers far above late ones.
  CHECK(is_healthy(judge(kRule, SyntheticRun(), 60, learning,
                         [](StepRecord& record) { record.set(Quantity::kGradientNorm, 0, 500); })));
}

TEST_CASE("the scale of loss and gradients does not matter", "[rules][exploding-gradient]") {
  for (const double scale : {1e-3, 1.0, 1e3}) {
    const auto judged = [scale](double factor) {
      return judge(
          kRule, SyntheticRun(), 50, [scale](std::int64_t step) { return scale * rising(210, 9)(step); },
          [scale, factor](StepRecord& record) {
            growing(200, factor)(record);
            for (std::size_t i = 0; i < 8; ++i)
              record.set(Quantity::kGradientNorm, i, scale * record.at(Quantity::kGradientNorm, i));
            record.set(Quantity::kGlobalGradientNorm, scale * record.at(Quantity::kGlobalGradientNorm));
          });
    };
    CHECK(is(judged(100), Severity::kError));
    CHECK(is_healthy(judged(2)));
  }
}

TEST_CASE("without gradient norms nothing can be said", "[rules][exploding-gradient]") {
  CHECK(is_not_evaluated(judge(kRule, SyntheticRun(), 60, learning, [](StepRecord& record) {
    record.set(Quantity::kGlobalGradientNorm, NAN);
    for (std::size_t i = 0; i < 8; ++i) record.set(Quantity::kGradientNorm, i, NAN);
  })));
}
