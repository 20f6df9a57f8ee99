#include <cmath>
#include <string>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

double flat(std::int64_t) { return 2.3; }

Fault alignment(double cosine) {
  return [=](StepRecord& record) { record.set(Quantity::kGradientAlignment, cosine); };
}

Fault clipped(double factor) {
  return [=](StepRecord& record) {
    record.set(Quantity::kClipFactor, factor);
    record.set(Quantity::kClipThreshold, 0.5);
  };
}

SyntheticRun half_precision() {
  SyntheticRun run;
  for (const Axis axis : {Axis::kActivation, Axis::kParameter})
    for (Subject& subject : run.run.of(axis)) subject.dtype = "float16";
  return run;
}

}  // namespace

TEST_CASE("gradients with nothing in common are a warning while the loss stands still", "[rules][gradient-noise]") {
  const auto judged = [](double cosine, const Loss& loss, std::size_t records = 80) {
    return judge("gradient-noise", SyntheticRun(), records, loss, alignment(cosine));
  };
  CHECK(is_not_evaluated(judged(0, flat, 49)));
  const Outcome outcome = judged(0.019, flat);
  CHECK(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(recommends(first_finding(outcome), "larger-batch"));
  CHECK(is(judged(-0.5, flat), Severity::kWarning));
  CHECK(is_healthy(judged(0.0205, flat)));
  CHECK(is_healthy(judged(0, learning)));
  CHECK(is_not_evaluated(judged(NAN, flat)));
}

TEST_CASE("a loss that swings around its level makes noise no warning", "[rules][gradient-noise]") {
  const auto swinging = [](double share) {
    return judge(
        "gradient-noise", SyntheticRun(), 80,
        [share](std::int64_t step) { return 1 + share * std::sin(static_cast<double>(step)); }, alignment(0));
  };
  CHECK(is(swinging(0.08), Severity::kWarning));
  CHECK(is(swinging(0.4), Severity::kInfo));
}

TEST_CASE("noise begins when gradients lose their direction", "[rules][gradient-noise]") {
  const Outcome outcome = judge("gradient-noise", SyntheticRun(), 150, flat, [](StepRecord& record) {
    record.set(Quantity::kGradientAlignment, record.step < 200 ? 0.3 : 0);
  });
  CHECK(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step >= 200);
}

TEST_CASE("clipping every step is information", "[rules][always-clipping]") {
  const auto judged = [](double factor, const Loss& loss, std::size_t records = 60) {
    return judge("always-clipping", SyntheticRun(), records, loss, clipped(factor));
  };
  CHECK(is_not_evaluated(judged(0.5, learning, 49)));
  const Outcome outcome = judged(0.5, learning);
  CHECK(is(outcome, Severity::kInfo));
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(recommends(first_finding(outcome), "clip-gradients"));
  CHECK(is(judged(0.5, flat), Severity::kInfo));
  CHECK(is(judged(0.009, learning), Severity::kInfo));
  CHECK(is(judged(0.011, flat), Severity::kInfo));
  CHECK(is(judged(0.009, flat), Severity::kWarning));
  CHECK(is_healthy(judged(1, flat)));
}

TEST_CASE("clipping counts from its share of steps on", "[rules][always-clipping]") {
  const auto every = [](std::int64_t spared) {
    return judge("always-clipping", SyntheticRun(), 100, learning, [=](StepRecord& record) {
      clipped(record.step >= 20 && record.step / 10 % spared == 0 ? 1 : 0.5)(record);
    });
  };
  CHECK(is(every(25), Severity::kInfo));  // 96 %
  CHECK(is_healthy(every(15)));           // 93 %
}

TEST_CASE("float16 activations near the end of the range are a warning, overflow an error",
          "[rules][half-precision-range]") {
  const auto judged = [](double largest, bool overflows) {
    return judge(
        "half-precision-range", half_precision(), 40,
        [=](std::int64_t step) { return overflows && step > 100 ? NAN : learning(step); },
        [=](StepRecord& record) {
          record.set(Quantity::kGradientZeros, 0, 0);
          if (record.step >= 50) record.set(Quantity::kActivationMax, 2, largest);
          if (overflows && record.step > 100) record.set(Quantity::kActivationNonfinite, 2, 7);
        });
  };
  CHECK(is_healthy(judged(29000, false)));
  const Outcome outcome = judged(31000, false);
  CHECK(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step == 50);
  CHECK(first_finding(outcome).subject.name == "fc1");
  CHECK(recommends(first_finding(outcome), "use-bfloat16"));
  CHECK(is(judged(31000, true), Severity::kError));
  CHECK(is_healthy(judged(65504, false)));  // A mask.
  CHECK(is_healthy(judged(29000, true)));   // Not from its range.
  CHECK(is_not_evaluated(judge("half-precision-range", SyntheticRun(), 40, learning)));
}

TEST_CASE("float16 gradients that become zero are told unless the loss takes them along",
          "[rules][half-precision-range]") {
  const auto judged = [](double early, double late, const Loss& loss) {
    return judge("half-precision-range", half_precision(), 60, loss, [=](StepRecord& record) {
      record.set(Quantity::kGradientZeros, 0, 64 * 64 * (record.step < 100 ? early : late));
    });
  };
  const Outcome outcome = judged(0.1, 0.6, flat);
  CHECK(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step == 100);
  CHECK(recommends(first_finding(outcome), "scale-loss"));
  CHECK(is_healthy(judged(0.1, 0.49, flat)));
  CHECK(is_healthy(judged(0.35, 0.6, flat)));
  CHECK(is_healthy(judged(0.1, 0.6, learning)));
}
