#include <cmath>
#include <string>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

const std::string kRule = "step-without-effect";

void freeze_all(StepRecord& record) {
  for (std::size_t i = 0; i < 8; ++i) record.set(Quantity::kUpdateRatio, i, 0);
}

}  // namespace

TEST_CASE("gradients without any update are an error after five recorded steps", "[rules][step-without-effect]") {
  CHECK(is_not_evaluated(judge(kRule, SyntheticRun(), 4, learning, freeze_all)));
  const Outcome outcome = judge(kRule, SyntheticRun(), 5, learning, freeze_all);
  CHECK(is(outcome, Severity::kError));
  CHECK(std::get<Unhealthy>(outcome).findings.size() == 1);
  CHECK(first_finding(outcome).recommendations[0].code.find("SGDOptions(0.1).momentum(0.9)") != std::string::npos);
}

TEST_CASE("some parameters that stand still are a warning each", "[rules][step-without-effect]") {
  const Outcome outcome = judge(kRule, SyntheticRun(), 30, learning, [](StepRecord& record) {
    record.set(Quantity::kUpdateRatio, 2, 0);
    if (record.step >= 11) record.set(Quantity::kUpdateRatio, 4, 0);
  });
  const auto& findings = std::get<Unhealthy>(outcome).findings;
  REQUIRE(findings.size() == 2);
  CHECK(findings[0].severity == Severity::kWarning);
  CHECK(findings[0].subject.name == "fc1.weight");
  CHECK(findings[1].first_step == 11);
}

TEST_CASE("warm-up from zero is healthy, a rate that stays zero is information", "[rules][step-without-effect]") {
  const auto with_rate_after = [](std::int64_t step) {
    return judge(kRule, SyntheticRun(), 30, learning, [step](StepRecord& record) {
      if (record.step >= step) return;
      record.set(Quantity::kLearningRate, 0);
      freeze_all(record);
    });
  };
  CHECK(is_healthy(with_rate_after(8)));
  CHECK(is(with_rate_after(100000), Severity::kInfo));
}

TEST_CASE("zero gradients, frozen parameters and skipped steps are no missing effect", "[rules][step-without-effect]") {
  CHECK(is_healthy(judge(kRule, SyntheticRun(), 30, learning, [](StepRecord& record) {
    record.set(Quantity::kGradientNorm, 2, 0);
    record.set(Quantity::kUpdateRatio, 2, 0);
    record.set(Quantity::kGradientNorm, 4, NAN);
    record.set(Quantity::kUpdateRatio, 4, 0);
    if (record.step % 2 == 0) return;
    record.set(Quantity::kGradientNonfinite, 6, 1);
    record.set(Quantity::kGradientNorm, 6, INFINITY);
    freeze_all(record);
  })));
}

TEST_CASE("a gradient that rounding swallows is not a missing effect", "[rules][step-without-effect]") {
  const auto with_gradient = [](double gradient) {
    return judge(kRule, SyntheticRun(), 30, learning, [gradient](StepRecord& record) {
      record.set(Quantity::kGradientNorm, 1, gradient);
      record.set(Quantity::kWeightNorm, 1, 5);
      record.set(Quantity::kUpdateRatio, 1, 0);
    });
  };
  CHECK(is_healthy(with_gradient(4e-5)));  // 0.1 · 4e-5 / 5 = 8e-7
  CHECK(is(with_gradient(6e-5), Severity::kWarning));

  // Half precision rounds 2^16 times as coarsely.
  SyntheticRun coarse;
  coarse.run.of(Axis::kParameter)[1].dtype = "bfloat16";
  const auto in_bfloat16 = [&](double gradient) {
    return judge(kRule, coarse, 30, learning, [gradient](StepRecord& record) {
      record.set(Quantity::kGradientNorm, 1, gradient);
      record.set(Quantity::kWeightNorm, 1, 5);
      record.set(Quantity::kUpdateRatio, 1, 0);
    });
  };
  CHECK(is_healthy(in_bfloat16(3.2)));
  CHECK(is(in_bfloat16(3.4), Severity::kWarning));  // 0.1 · 3.4 / 5 = 0.068
}

TEST_CASE("without update ratios nothing can be said", "[rules][step-without-effect]") {
  CHECK(is_not_evaluated(judge(kRule, SyntheticRun(), 30, learning, [](StepRecord& record) {
    for (std::size_t i = 0; i < 8; ++i) record.set(Quantity::kUpdateRatio, i, NAN);
  })));
}
