#include <cmath>
#include <random>

#include "rules/loss_cases.h"
#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

Outcome judge_each_step(const std::string& rule, SyntheticRun run, std::int64_t steps, const Loss& loss,
                        const Fault& fault = {}) {
  const auto judge = find_rule(catalogue(), rule)->make_judge({});
  for (std::int64_t step = 0; step < steps; ++step) {
    StepRecord record = run.step(step, loss(step));
    if (fault) fault(record);
    judge->observe(run.run, record);
  }
  return judge->outcome();
}

Fault updates(double ratio) {
  return [=](StepRecord& record) {
    for (std::size_t i = 0; i < 8; ++i) record.set(Quantity::kUpdateRatio, i, ratio);
  };
}

double swinging(std::int64_t step) { return step % 2 == 0 ? 1.5 : 3.5; }

SyntheticRun declared(const std::string& kind) {
  SyntheticRun run;
  run.run.info.loss_kind = kind;
  return run;
}

}  // namespace

TEST_CASE("a loss that turns at every step and gets nowhere is an error", "[rules][oscillating-loss]") {
  const std::string rule = "oscillating-loss";
  const Outcome outcome = judge_each_step(rule, SyntheticRun(), 200, swinging);
  REQUIRE(is(outcome, Severity::kError));
  CHECK(recommends(first_finding(outcome), "lower-learning-rate"));
  // Between 0.1 and 1.9 after a start of 2.3: more than half of the gain is lost every time.
  const auto after_gain = [](std::int64_t step) { return step < 5 ? 2.3 : step % 2 == 0 ? 0.1 : 1.9; };
  CHECK(is(judge_each_step(rule, SyntheticRun(), 200, after_gain), Severity::kWarning));
  const auto small = [](std::int64_t step) { return step < 5 ? 2.3 : step % 2 == 0 ? 0.2 : 0.9; };
  CHECK(is_healthy(judge_each_step(rule, SyntheticRun(), 200, small)));
  const auto falling = [](std::int64_t step) { return swinging(step) * std::exp(-static_cast<double>(step) / 60); };
  CHECK(is_healthy(judge_each_step(rule, SyntheticRun(), 200, falling)));
}

TEST_CASE("noise is no oscillation, unless gradients oppose each other or updates are huge",
          "[rules][oscillating-loss]") {
  const std::string rule = "oscillating-loss";
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal(2.5, 1.0);
    std::vector<double> losses(200);
    for (double& loss : losses) loss = normal(generator);
    const auto noise = [&](std::int64_t step) { return losses[static_cast<std::size_t>(step)]; };
    CAPTURE(seed);
    CHECK(is_healthy(judge_each_step(rule, SyntheticRun(), 200, noise)));
    CHECK_FALSE(
        is_healthy(judge_each_step(rule, SyntheticRun(), 200, noise, always(Quantity::kGradientAlignment, -0.25))));
    CHECK(is_healthy(judge_each_step(rule, SyntheticRun(), 200, noise, always(Quantity::kGradientAlignment, -0.15))));
    CHECK_FALSE(is_healthy(judge_each_step(rule, SyntheticRun(), 200, noise, updates(0.06))));
    CHECK(is_healthy(judge_each_step(rule, SyntheticRun(), 200, noise, updates(0.04))));
  }
  CHECK(is_not_evaluated(judge_each_step(rule, declared("adversarial"), 200, swinging)));
  CHECK(is_not_evaluated(judge_each_step(rule, SyntheticRun(), 40, swinging)));
}

namespace {

/// Falling, with noise and spikes of this height and length.
Loss spiky(double height, std::int64_t length, std::int64_t times) {
  return [=](std::int64_t step) {
    const std::int64_t at = step - 200;
    const bool up = at >= 0 && at / 100 < times && at % 100 < length;
    return learning(step) + 0.02 * std::sin(static_cast<double>(7 * step)) + (up ? height : 0);
  };
}

}  // namespace

TEST_CASE("spikes that come back are information, frequent slow ones a warning", "[rules][loss-spike]") {
  const std::string rule = "loss-spike";
  const Outcome once = judge_each_step(rule, SyntheticRun(), 600, spiky(3, 2, 1));
  REQUIRE(is(once, Severity::kInfo));
  CHECK(first_finding(once).first_step == 200);
  CHECK(first_finding(once).last_step == 201);
  CHECK(recommends(first_finding(once), "clip-gradients"));
  CHECK(is(judge_each_step(rule, SyntheticRun(), 600, spiky(3, 5, 3)), Severity::kWarning));
  CHECK(is(judge_each_step(rule, SyntheticRun(), 600, spiky(3, 5, 2)), Severity::kInfo));
  CHECK(is(judge_each_step(rule, SyntheticRun(), 600, spiky(3, 4, 3)), Severity::kInfo));
  CHECK(is(judge_each_step(rule, SyntheticRun(), 600, spiky(0.9, 5, 3)), Severity::kInfo));
  CHECK(is(judge_each_step(rule, declared("adversarial"), 600, spiky(3, 5, 3)), Severity::kInfo));
  // A tenth of the gain of 2 matters, less does not.
  CHECK(is(judge_each_step(rule, SyntheticRun(), 600, spiky(0.3, 2, 1)), Severity::kInfo));
  CHECK(is_healthy(judge_each_step(rule, SyntheticRun(), 600, spiky(0.15, 2, 1))));
  // What stays is no spike.
  CHECK(is_healthy(judge_each_step(rule, SyntheticRun(), 600, spiky(3, 100, 9))));
  CHECK(is_not_evaluated(judge_each_step(rule, SyntheticRun(), 30, learning)));
}

TEST_CASE("advice against spikes fits the optimizer", "[rules][loss-spike]") {
  SyntheticRun adam;
  adam.run.info.optimizer = "AdamW";
  adam.run.info.momentum = 0.9;
  adam.run.info.beta2 = 0.999;
  const Outcome outcome = judge_each_step("loss-spike", adam, 600, spiky(3, 5, 3));
  REQUIRE(recommends(first_finding(outcome), "lower-beta2"));
  CHECK(first_finding(outcome).recommendations.at(1).code.find("torch::optim::AdamWOptions&") != std::string::npos);
  CHECK_FALSE(
      recommends(first_finding(judge_each_step("loss-spike", SyntheticRun(), 600, spiky(3, 5, 3))), "lower-beta2"));
}

TEST_CASE("a loss that stays while gradients agree is a warning", "[rules][plateaued-loss]") {
  const std::string rule = "plateaued-loss";
  const Outcome outcome = judge(rule, SyntheticRun(), 60, stuck);
  REQUIRE(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(first_finding(outcome).recommendations.at(0).confidence < 0.5);
  const Outcome timid = judge(rule, SyntheticRun(), 60, stuck, updates(1e-6));
  REQUIRE(recommends(first_finding(timid), "raise-learning-rate"));
  CHECK(first_finding(timid).recommendations.at(0).code.find("set_lr(100.0)") != std::string::npos);
  CHECK(is(judge(rule, SyntheticRun(), 60, stuck, always(Quantity::kGradientAlignment, 0.21)), Severity::kWarning));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, always(Quantity::kGradientAlignment, 0.19))));
}

TEST_CASE("converged, warming, noisy and adversarial losses are not plateaus", "[rules][plateaued-loss]") {
  const std::string rule = "plateaued-loss";
  CHECK(is_healthy(judge(rule, SyntheticRun(), 120, learning)));
  CHECK(is_healthy(
      judge(rule, SyntheticRun(), 120, [](std::int64_t s) { return 2.3 * std::exp(-static_cast<double>(s) / 20); })));
  const Fault warming = [](StepRecord& record) {
    record.set(Quantity::kLearningRate, 1e-6 * static_cast<double>(record.step));
  };
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, warming)));
  CHECK(is_healthy(judge(rule, declared("adversarial"), 60, stuck)));
  const auto wild = [](std::int64_t s) { return 2.3 + std::sin(static_cast<double>(s)); };
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, wild)));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, always(Quantity::kGradientAlignment, NAN))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 30, stuck)));
}

TEST_CASE("a loss at the entropy of the classes is a warning, of a model that is a constant an error",
          "[rules][no-better-than-constant]") {
  const std::string rule = "no-better-than-constant";
  // It had come down, and gradients do not agree: perhaps there is nothing to learn.
  const auto arrived = [](std::int64_t s) { return s < 20 ? 4.0 - 0.08 * static_cast<double>(s) : 2.3; };
  const Outcome outcome = judge(rule, SyntheticRun(), 60, arrived);
  REQUIRE(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step > 15);
  CHECK(first_finding(outcome).first_step <= 30);
  CHECK(recommends(first_finding(outcome), "overfit-one-batch"));
  CHECK(is(judge(rule, SyntheticRun(), 60, arrived, always(Quantity::kPredictionSpread, 1e-5)), Severity::kError));
  CHECK(is(judge(rule, SyntheticRun(), 60, stuck), Severity::kError));  // Its gradients agree.
  CHECK(is(judge(rule, SyntheticRun(), 60, stuck, always(Quantity::kGradientAlignment, 0.1)), Severity::kWarning));
  const auto level = [](double value) { return [=](std::int64_t s) { return s < 20 ? 4 : value; }; };
  CHECK(is(judge(rule, SyntheticRun(), 60, level(2.26)), Severity::kWarning));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, level(2.25))));
  CHECK(is(judge(rule, SyntheticRun(), 60, level(2.41)), Severity::kWarning));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, level(2.42))));  // A loss that was scaled, perhaps.
  const Fault random = always(Quantity::kGradientAlignment, 0);
  const auto rising = [](double value) { return [=](std::int64_t s) { return s < 20 ? 3 : value; }; };
  CHECK(is(judge(rule, SyntheticRun(), 60, rising(3.01), random), Severity::kWarning));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, rising(2.99), random)));
}

TEST_CASE("squared errors are held against the variance, binary ones against the base rate",
          "[rules][no-better-than-constant]") {
  const std::string rule = "no-better-than-constant";
  const auto at = [](double value) { return [=](std::int64_t s) { return s < 20 ? 2 * value : value; }; };
  CHECK(is(judge(rule, SyntheticRun(), 60, at(4), regression(1, 2)), Severity::kWarning));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, at(3.9), regression(1, 2))));
  const Fault binary = both(regression(0.3, std::sqrt(0.21)), [](StepRecord& record) {
    record.events.clear();
    if (record.step == 0)
      record.events.push_back({0, "loss-operator", "fc3",
                               "op=binary_cross_entropy_with_logits prediction=64:float32 "
                               "target=64:float32 reduction=mean"});
    record.set(Quantity::kTargetMin, 0);
    record.set(Quantity::kTargetMax, 1);
  });
  CHECK(is(judge(rule, SyntheticRun(), 60, at(0.611), binary), Severity::kWarning));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, at(0.59), binary)));
}

TEST_CASE("learning, summed, adversarial and short runs are not compared with a constant",
          "[rules][no-better-than-constant]") {
  const std::string rule = "no-better-than-constant";
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning)));
  CHECK(is_not_evaluated(judge(rule, declared("adversarial"), 60, stuck)));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 30, stuck)));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, always(Quantity::kTargetEntropy, 0.01))));
  CHECK(is_not_evaluated(
      judge(rule, SyntheticRun(), 60, stuck,
            loss_operator("op=cross_entropy_loss prediction=64x10:float32 target=64:int64 reduction=sum"))));
  const Fault two = [](StepRecord& record) {
    if (record.step == 1) record.events.push_back({1, "loss-operator", "fc2", "op=mse_loss reduction=mean"});
  };
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, two)));
}

TEST_CASE("a validation loss that rises while the training loss falls is a warning", "[rules][overfitting]") {
  const std::string rule = "overfitting";
  const auto validated = [](const std::string& name) {
    SyntheticRun run;
    run.run.of(Axis::kNamed).push_back({"accuracy", "", "", "", "", 1});
    run.run.of(Axis::kNamed).push_back({name, "", "", "", "", 1});
    return run;
  };
  // Falls to 0.5 at step 300, then rises by `slope` in a hundred steps.
  const auto validation = [](double slope, std::int64_t every = 20) {
    return [=](StepRecord& record) {
      if (record.step % every != 0) return;
      const double t = static_cast<double>(record.step);
      record.set(Quantity::kNamedValue, 0, 0.9);
      record.set(Quantity::kNamedValue, 1, t <= 300 ? 2 - 0.005 * t : 0.5 + slope * (t - 300) / 100);
    };
  };
  for (const std::string name : {"val_loss", "Validation Loss", "test/loss", "eval-loss"}) {
    const Outcome outcome = judge(rule, validated(name), 120, learning, validation(0.05));
    CAPTURE(name);
    REQUIRE(is(outcome, Severity::kWarning));
    CHECK(first_finding(outcome).first_step == 300);
    CHECK(first_finding(outcome).subject.name == name);
    CHECK(recommends(first_finding(outcome), "early-stop"));
  }
  // Up to step 1000 it rises by 7 slopes; a fifth of 0.5 is 0.1.
  CHECK(is(judge(rule, validated("val_loss"), 119, learning, validation(0.017)), Severity::kWarning));
  CHECK(is_healthy(judge(rule, validated("val_loss"), 119, learning, validation(0.0138))));
  const auto rising = [](std::int64_t step) { return 0.3 + 1e-3 * static_cast<double>(step); };
  CHECK(is_healthy(judge(rule, validated("val_loss"), 120, rising, validation(0.05))));
  CHECK(is_not_evaluated(judge(rule, validated("val_loss"), 120, learning, validation(0.05, 200))));
  CHECK(is_not_evaluated(judge(rule, validated("val_accuracy"), 120, learning, validation(0.05))));
}

TEST_CASE("outputs that are the same for every sample are told", "[rules][collapsed-output]") {
  const std::string rule = "collapsed-output";
  const auto since = [](std::int64_t step, double spread) {
    return [=](StepRecord& record) {
      if (record.step >= step) record.set(Quantity::kPredictionSpread, spread);
    };
  };
  const Outcome outcome = judge(rule, SyntheticRun(), 60, stuck, since(100, 1e-7));
  REQUIRE(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 100);
  CHECK(first_finding(outcome).subject.name == "fc3");
  CHECK(recommends(first_finding(outcome), "check-loader"));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, since(100, 1e-7)), Severity::kWarning));
  // The outputs' size is 1.
  CHECK(is(judge(rule, SyntheticRun(), 60, stuck, since(0, 0.9e-4)), Severity::kError));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, since(0, 1.2e-4))));
  // Less than the latter half of the records; back again.
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, since(250, 1e-7))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, [](StepRecord& record) {
    if (record.step < 400) record.set(Quantity::kPredictionSpread, 0);
  })));
}

TEST_CASE("a small spread around a large offset is no collapse, nor is one sample", "[rules][collapsed-output]") {
  const std::string rule = "collapsed-output";
  const Fault offset = both(regression(1e6, 50), [](StepRecord& record) {
    record.set(Quantity::kPredictionMean, 1e6);
    record.set(Quantity::kPredictionSpread, 40);
  });
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, offset)));
  const Fault none = always(Quantity::kPredictionSpread, 0);
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, both(none, always(Quantity::kBatchSize, 1)))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, both(none, regression(1, 0)))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, always(Quantity::kPredictionSpread, NAN))));
}
