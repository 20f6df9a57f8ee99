#include <cmath>

#include "rules/loss_cases.h"
#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

const std::string kRule = "diverging-loss";

/// Gradients grow by this factor from a step on.
Fault growing(std::int64_t from, double factor, std::int64_t to = 1000000) {
  return [=](StepRecord& record) {
    if (record.step >= from && record.step < to)
      record.set(Quantity::kGlobalGradientNorm, factor * record.at(Quantity::kGlobalGradientNorm));
  };
}

/// Learns, then leaves its level for a multiple of it.
Loss leaving(std::int64_t from, double level, std::int64_t to = 1000000) {
  return [=](std::int64_t step) { return step >= from && step < to ? level : learning(step); };
}

}  // namespace

TEST_CASE("a loss that leaves for good with growing gradients is an error", "[rules][diverging-loss]") {
  const Outcome outcome = judge(kRule, SyntheticRun(), 60, leaving(200, 8), growing(200, 50));
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 200);
  CHECK(first_finding(outcome).evidence.size() == 2);
  CHECK(recommends(first_finding(outcome), "lower-learning-rate"));
}

TEST_CASE("without a second witness it is a warning, and only when it lasts", "[rules][diverging-loss]") {
  CHECK(is(judge(kRule, SyntheticRun(), 60, leaving(200, 8), growing(200, 5)), Severity::kWarning));
  CHECK(is_healthy(judge(kRule, SyntheticRun(), 56, leaving(200, 8), growing(200, 5))));
}

TEST_CASE("the witness counts from its threshold on", "[rules][diverging-loss]") {
  SyntheticOptions quiet;
  quiet.noise = 0;
  const auto with = [&](double factor) {
    return judge(kRule, SyntheticRun(quiet), 48, leaving(200, 8), growing(200, factor));
  };
  CHECK(is_healthy(with(9.9)));
  CHECK(is(with(10.1), Severity::kError));
}

TEST_CASE("a blow-up that ends flat and finite is still a divergence", "[rules][diverging-loss]") {
  const auto loss = [](std::int64_t step) {
    return step < 2 ? 3.2 : step < 6 ? 400.0 * static_cast<double>(step) : 2.303;
  };
  const Outcome outcome = judge(kRule, SyntheticRun(), 50, loss, [](StepRecord& record) {
    record.set(Quantity::kGlobalGradientNorm, record.step < 2 ? 1 : record.step < 6 ? 1000 : 1e-4);
  });
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 2);
  CHECK(first_finding(outcome).message.find("not a recovery") != std::string::npos);
}

TEST_CASE("a non-finite loss after growth is where the growth ended", "[rules][diverging-loss]") {
  const auto loss = [](std::int64_t step) {
    return step < 2 ? 2.3 : step < 5 ? std::pow(1e4, static_cast<double>(step)) : NAN;
  };
  CHECK(is(judge(kRule, SyntheticRun(), 7, loss, growing(1, 1e6)), Severity::kError));
  // Out of the blue it is another rule's.
  CHECK_FALSE(
      is(judge(kRule, SyntheticRun(), 30, [](std::int64_t step) { return step < 12 ? 2.3 : NAN; }), Severity::kError));
}

TEST_CASE("spikes that come back are none", "[rules][diverging-loss]") {
  for (const double height : {3.0, 30.0, 3e4})
    for (const std::int64_t from : {3, 60, 300}) {
      CAPTURE(height, from);
      const std::int64_t to = from + (from < 20 ? 2 : 20);
      CHECK(is_healthy(judge(kRule, SyntheticRun(), 80, leaving(from, height, to), growing(from, 30, to))));
    }
}

TEST_CASE("the loss's offset and sign do not matter once noise is known", "[rules][diverging-loss]") {
  SyntheticRun noise;
  for (const double offset : {-50.0, -2.0, 0.0, 50.0}) {
    CAPTURE(offset);
    const auto noisy = [&noise, offset](double level) {
      return [&noise, offset, level](std::int64_t step) {
        return offset + 0.1 * noise.noise() + (step < 200 ? learning(step) : level);
      };
    };
    CHECK(is_healthy(judge(kRule, SyntheticRun(), 80, noisy(0.3), growing(200, 30))));
    CHECK(is(judge(kRule, SyntheticRun(), 80, noisy(100), growing(200, 30)), Severity::kError));
  }
}

TEST_CASE("a contrastive loss may rise up to what guessing costs, unless something grows with it",
          "[rules][diverging-loss]") {
  const std::string op = "op=cross_entropy_loss prediction=64x257:float32 target=64:int64 reduction=mean";
  const auto contrast = [&](const std::string& subject) {
    return both(loss_operator(op, subject), always(Quantity::kTargetClasses, 257));
  };
  // The logarithm of 257 is 5.55, and 1.05 times that 5.83.
  CHECK(is_healthy(judge(kRule, SyntheticRun(), 60, leaving(200, 5.8), contrast(""))));
  CHECK(is(judge(kRule, SyntheticRun(), 60, leaving(200, 5.9), contrast("")), Severity::kWarning));
  CHECK(is(judge(kRule, SyntheticRun(), 60, leaving(200, 5.8), contrast("fc3")), Severity::kWarning));
  CHECK(
      is(judge(kRule, SyntheticRun(), 60, leaving(200, 5.8), both(contrast(""), growing(200, 50))), Severity::kError));
}
