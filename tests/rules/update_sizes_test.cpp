#include <cmath>
#include <string>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

double flat(std::int64_t) { return 2.3; }
double rising(std::int64_t step) { return 2.3 + 0.01 * static_cast<double>(step); }

Fault cosine(double value, std::int64_t spared_every = 1000000) {
  return [=](StepRecord& record) {
    const bool spared = record.step >= 20 && record.step / 10 % spared_every == 0;
    record.set(Quantity::kUpdateGradientCosine, spared ? 0.5 : value);
  };
}

Outcome ascending(std::size_t records, const Loss& loss, const Fault& fault, const std::string& kind = "") {
  SyntheticRun run;
  run.run.info.loss_kind = kind;
  return judge("ascending-step", run, records, loss, fault);
}

/// Updates of all weights over their size.
Fault updates(double ratio, double gradient = 0.2) {
  return [=](StepRecord& record) {
    for (std::size_t i = 0; i < 8; ++i) {
      record.set(Quantity::kUpdateRatio, i, ratio);
      record.set(Quantity::kGradientNorm, i, gradient);
      record.set(Quantity::kWeightNorm, i, 5);
    }
  };
}

Outcome sized(const std::string& rule, const Loss& loss, const Fault& fault, std::size_t records = 60) {
  return judge(rule, SyntheticRun(), records, loss, fault);
}

double advised(const Outcome& outcome) {
  return first_finding(outcome).recommendations.at(0).values.at(0).second.at(0);
}

}  // namespace

TEST_CASE("updates along the gradient are an error when the loss rises", "[rules][ascending-step]") {
  const Outcome outcome = ascending(60, rising, cosine(-0.6));
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(recommends(first_finding(outcome), "fix-loss-sign"));
  CHECK(is(ascending(60, flat, cosine(-0.6)), Severity::kWarning));
  CHECK(is(ascending(60, learning, cosine(-0.6)), Severity::kInfo));
  CHECK(is(ascending(60, flat, cosine(-0.6), "adversarial"), Severity::kInfo));
}

TEST_CASE("climbing counts from its thresholds on", "[rules][ascending-step]") {
  CHECK(is_healthy(ascending(60, flat, cosine(-0.09))));
  CHECK(is(ascending(60, flat, cosine(-0.11)), Severity::kWarning));
  CHECK(is(ascending(60, flat, cosine(-0.6, 6)), Severity::kWarning));  // 83 %
  CHECK(is_healthy(ascending(60, flat, cosine(-0.6, 4))));              // 75 %
  CHECK(is_not_evaluated(ascending(19, flat, cosine(-0.6))));
  CHECK(is_healthy(ascending(23, flat, cosine(-0.6))));  // Step 40.
  CHECK(is(ascending(24, flat, cosine(-0.6)), Severity::kWarning));
  CHECK(is_not_evaluated(ascending(60, flat, cosine(NAN))));
}

TEST_CASE("updates of the weights' own size are an error when the loss suffers", "[rules][update-too-large]") {
  const std::string rule = "update-too-large";
  const Outcome outcome = sized(rule, flat, updates(0.3));
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(first_finding(outcome).recommendations.at(0).id == "lower-learning-rate");
  CHECK(std::abs(advised(outcome) - 1e-3) < 1e-9);  // 0.1 · 10^-2.5 / 0.3
  CHECK(is(sized(rule, flat, updates(0.3), 21), Severity::kWarning));
  CHECK(is(sized(rule, learning, updates(0.3)), Severity::kInfo));
  CHECK(is_healthy(sized(rule, flat, updates(0.095))));
  CHECK(is(sized(rule, flat, updates(0.105)), Severity::kError));
}

TEST_CASE("a few updates that replace the weights are enough once the loss has suffered", "[rules][update-too-large]") {
  const auto burst = [](double ratio, std::int64_t steps, const Loss& loss) {
    return sized("update-too-large", loss, [=](StepRecord& record) {
      const bool now = record.step >= 2 && record.step < 2 + steps;
      updates(now ? ratio : 1e-3)(record);
    });
  };
  const Outcome outcome = burst(0.5, 3, flat);
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 2);
  CHECK(std::abs(advised(outcome) - 6e-4) < 1e-9);  // 0.1 · 10^-2.5 / 0.5
  CHECK(is_healthy(burst(0.5, 2, flat)));
  CHECK(is(burst(1.1, 1, flat), Severity::kError));
  CHECK(is_healthy(burst(0.9, 1, flat)));
  CHECK(is_healthy(burst(0.5, 3, learning)));
  // It came down from what the updates made of it, but to no less than a constant would have: the entropy, 2.303.
  const auto settles = [](double level, double fall = 0) {
    return [=](std::int64_t s) { return s < 5 ? 2.3 + static_cast<double>(s) : level - fall * static_cast<double>(s); };
  };
  CHECK(is(burst(1.1, 1, settles(2.5)), Severity::kError));
  CHECK(is(burst(1.1, 1, settles(2.31)), Severity::kError));
  CHECK(is_healthy(burst(1.1, 1, settles(2.29))));
  CHECK(is_healthy(burst(1.1, 1, settles(4.5, 0.002))));  // On its way.
}

TEST_CASE("large first steps, one wild layer and weights that leave zero are no large updates",
          "[rules][update-too-large]") {
  const std::string rule = "update-too-large";
  CHECK(is_healthy(sized(rule, flat, [](StepRecord& record) {
    if (record.step < 2) updates(0.3)(record);
    record.set(Quantity::kUpdateRatio, 0, 5);
  })));
  CHECK(is_not_evaluated(sized(rule, flat, [](StepRecord& record) {
    updates(0.3)(record);
    for (std::size_t i = 0; i < 8; ++i) record.set(Quantity::kWeightNorm, i, 1e-5);
  })));
  CHECK(is_not_evaluated(sized(rule, flat, updates(NAN))));
}

TEST_CASE("tiny updates with gradients and a loss that stands still are told with the factor that is missing",
          "[rules][update-too-small]") {
  const std::string rule = "update-too-small";
  const Outcome outcome = sized(rule, flat, updates(5e-7));
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(first_finding(outcome).recommendations.at(0).id == "raise-learning-rate");
  CHECK(std::abs(advised(outcome) - 600) < 1e-9);  // 0.1 · 10^-2.5 / 5e-7
  CHECK(std::abs(advised(sized(rule, flat, updates(1e-9))) - 3e5) < 1e-4);
  CHECK(is(sized(rule, flat, updates(5e-7), 26), Severity::kWarning));
  CHECK(is_healthy(sized(rule, learning, updates(5e-7))));
  CHECK(is(sized(rule, flat, updates(0.95e-6)), Severity::kError));
  CHECK(is_healthy(sized(rule, flat, updates(1.05e-6))));
  CHECK(is_healthy(sized(rule, flat, updates(5e-7, 4e-4))));  // Relative gradient 0.8e-4.
  CHECK(is(sized(rule, flat, updates(5e-7, 6e-4)), Severity::kError));
}

TEST_CASE("small steps are meant at both ends of a schedule", "[rules][update-too-small]") {
  const std::string rule = "update-too-small";
  const auto scheduled = [&](const std::function<double(double)>& rate, const Loss& loss) {
    return sized(rule, loss, [=](StepRecord& record) {
      const double now = rate(static_cast<double>(record.step));
      updates(now * 1e-6)(record);
      record.set(Quantity::kLearningRate, now);
    });
  };
  CHECK(is_not_evaluated(scheduled([](double step) { return 1e-3 * step; }, flat)));
  CHECK(is_healthy(scheduled([](double step) { return step < 250 ? 10 : 0.1; }, flat)));
}

namespace {

Outcome curved(double curvature, const Loss& loss, const std::string& optimizer = "SGD") {
  SyntheticRun run;  // SGD with a momentum of 0.9 at 0.1.
  run.run.info.optimizer = optimizer;
  return judge("unstable-learning-rate", run, 40, loss, [=](StepRecord& record) {
    if (record.step % 10 == 3) record.set(Quantity::kCurvature, curvature);
  });
}

double blown_up(std::int64_t step) { return step < 5 ? 2.3 : 1e4; }

}  // namespace

TEST_CASE("a learning rate beyond stability is an error once the loss has risen", "[rules][unstable-learning-rate]") {
  const Outcome outcome = curved(76, blown_up);  // 7.6 against 3.8
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 3);
  CHECK(std::abs(advised(outcome) - 0.02) < 1e-9);  // 0.5 · 3.8 / 76 = 0.025, in one digit
  CHECK(is(curved(76, learning), Severity::kInfo));
  CHECK(is(curved(39, blown_up), Severity::kError));
  CHECK(is_healthy(curved(37, blown_up)));
}

TEST_CASE("without curvature, or with Adam, stability is not judged", "[rules][unstable-learning-rate]") {
  CHECK(is_not_evaluated(curved(NAN, blown_up)));
  CHECK(is_not_evaluated(curved(1e6, blown_up, "Adam")));
}

namespace {

/// The loss rises to `peak` within the first steps and is back at step `back`; updates are `ratio` times as large at
/// first.
Outcome warmed(double peak, std::int64_t back, double ratio, const std::string& optimizer = "Adam",
               bool warm_up = false) {
  SyntheticRun run;
  run.run.info.optimizer = optimizer;
  return judge(
      "missing-warmup", run, 60,
      [=](std::int64_t step) {
        return step == 0 ? 2.3 : step < back ? peak : step < 200 ? 2.2 : 1.9;
      },
      [=](StepRecord& record) {
        updates(record.step < 10 ? 1e-3 * ratio : 1e-3)(record);
        if (warm_up)
          record.set(Quantity::kLearningRate, 1e-3 * std::min(1.0, 0.01 * static_cast<double>(1 + record.step)));
      });
}

}  // namespace

TEST_CASE("first steps that throw the loss up are information when it soon comes back, else a warning",
          "[rules][missing-warmup]") {
  CHECK(is(warmed(5, 40, 30), Severity::kInfo));
  const Outcome outcome = warmed(5, 150, 30);
  CHECK(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(first_finding(outcome).recommendations.at(0).id == "warm-up");
  CHECK(is(warmed(3.5, 150, 30), Severity::kWarning));
  CHECK(is_healthy(warmed(3.4, 150, 30)));  // 1.48
  CHECK(is(warmed(5, 150, 11), Severity::kWarning));
  CHECK(is_healthy(warmed(5, 150, 9)));
}

TEST_CASE("with a warm-up, or an optimizer that needs none, the first steps are left alone",
          "[rules][missing-warmup]") {
  CHECK(is_healthy(warmed(5, 150, 30, "Adam", true)));
  CHECK(is_not_evaluated(warmed(5, 150, 30, "SGD")));
}
