#include <algorithm>
#include <cmath>

#include "rules/loss_cases.h"
#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

SyntheticRun image_run() {
  SyntheticRun run;
  for (std::size_t f = 0; f < 4; ++f) {
    run.run.of(Axis::kFeature)[f].name = "channel " + std::to_string(f);
    run.run.of(Axis::kFeature)[f].kind = "conv2d";
    run.run.of(Axis::kFeature)[f].size = 784;
  }
  return run;
}

SyntheticRun token_run() {
  SyntheticOptions options;
  options.input_operator = "embedding";
  return SyntheticRun(options);
}

Fault range(double low, double high) {
  return both(features(Quantity::kInputMin, low), features(Quantity::kInputMax, high));
}

Fault without_input() {
  return [](StepRecord& record) {
    for (const Quantity q : {Quantity::kInputMean, Quantity::kInputStd, Quantity::kInputMin, Quantity::kInputMax})
      for (std::size_t f = 0; f < 4; ++f) record.set(q, f, NAN);
  };
}

double value_of(const Finding& finding, const std::string& name) {
  for (const auto& [key, values] : finding.recommendations.at(0).values)
    if (key == name) return values.at(0);
  throw std::logic_error("no value " + name);
}

}  // namespace

TEST_CASE("pixels within 1/255 were normalised twice: a warning, an error when nothing is learnt",
          "[rules][double-normalized-input]") {
  const std::string rule = "double-normalized-input";
  const Fault twice = range(0, 1 / 255.0);
  CHECK(is(judge(rule, image_run(), 60, learning, twice), Severity::kWarning));
  const Outcome outcome = judge(rule, image_run(), 60, stuck, twice);
  REQUIRE(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 0);
  REQUIRE(recommends(first_finding(outcome), "remove-normalization"));
  CHECK(value_of(first_finding(outcome), "factor") == 255);
  CHECK(is(judge(rule, image_run(), 60, learning, range(-0.5 / 255, 0.5 / 255)), Severity::kWarning));
  // Near misses.
  CHECK(is(judge(rule, image_run(), 60, learning, range(0, 1.009 / 255)), Severity::kWarning));
  CHECK(is_healthy(judge(rule, image_run(), 60, learning, range(0, 1.011 / 255))));
  CHECK(is_healthy(judge(rule, image_run(), 60, learning, range(-1.011 / 255, 0))));
  CHECK(is_healthy(judge(rule, image_run(), 60, stuck, range(0, 1))));
}

TEST_CASE("small numbers that are no pictures are told only when nothing is learnt",
          "[rules][double-normalized-input]") {
  const std::string rule = "double-normalized-input";
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, range(0, 1e-3))));
  const Outcome outcome = judge(rule, SyntheticRun(), 60, stuck, range(0, 1e-3));
  REQUIRE(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).recommendations.at(0).text.find("guess") != std::string::npos);
  CHECK(is_healthy(judge(rule, image_run(), 60, learning, range(0, 0.2 / 255))));
  CHECK(is_healthy(judge(rule, image_run(), 60, stuck, range(0, 0))));
  CHECK(is_not_evaluated(judge(rule, token_run(), 60, stuck, range(0, 1e-3))));
  CHECK(is_not_evaluated(judge(rule, image_run(), 60, stuck, without_input())));
  CHECK(is_not_evaluated(judge(rule, image_run(), 9, learning, range(0, 1 / 255.0))));
}

TEST_CASE("batches of equal samples are told", "[rules][constant-input]") {
  const std::string rule = "constant-input";
  const Fault constant = features(Quantity::kInputStd, 0);
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, constant), Severity::kWarning));
  const Outcome outcome = judge(rule, SyntheticRun(), 60, stuck, constant);
  REQUIRE(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).subject.name == "feature 0");
  CHECK(recommends(first_finding(outcome), "check-loader"));
  const auto share = [&](std::int64_t of_ten) {
    return [=](StepRecord& record) {
      // Every record but the first twenty is a multiple of ten.
      const std::int64_t n = record.step < 20 ? record.step : 20 + (record.step - 20) / 10;
      if (n % 10 < of_ten) constant(record);
    };
  };
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, share(9)), Severity::kWarning));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, share(8))));
}

TEST_CASE("a constant column of a table is information, one of a picture is nothing", "[rules][constant-input]") {
  const std::string rule = "constant-input";
  const Fault column = [](StepRecord& record) {
    record.set(Quantity::kInputMean, 2, 1);
    record.set(Quantity::kInputStd, 2, 0);
  };
  const Outcome outcome = judge(rule, SyntheticRun(), 60, learning, column);
  REQUIRE(is(outcome, Severity::kInfo));
  CHECK(first_finding(outcome).subject.name == "feature 2");
  CHECK(first_finding(outcome).recommendations.at(0).code.find("{0, 1, 3}") != std::string::npos);
  CHECK(is_healthy(judge(rule, image_run(), 60, learning, column)));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, column, {{"table-features", 3}})));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, both(column, always(Quantity::kBatchSize, 1)))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, without_input())));
}

TEST_CASE("an input that changes its level for good is information, with a rising loss a warning",
          "[rules][input-shift]") {
  const std::string rule = "input-shift";
  const auto shift = [](double mean, std::int64_t from, std::int64_t to = 1 << 20) {
    return [=](StepRecord& record) {
      for (std::size_t f = 0; f < 4; ++f)
        if (record.step >= from && record.step < to)
          record.set(Quantity::kInputMean, f, record.at(Quantity::kInputMean, f) + mean);
    };
  };
  const Outcome outcome = judge(rule, SyntheticRun(), 120, learning, shift(3, 500));
  REQUIRE(is(outcome, Severity::kInfo));
  CHECK(first_finding(outcome).first_step == 500);
  CHECK(recommends(first_finding(outcome), "check-loader"));
  const auto jumps = [](std::int64_t step) { return learning(step) + (step >= 500 ? 2 : 0); };
  CHECK(is(judge(rule, SyntheticRun(), 120, jumps, shift(3, 500)), Severity::kWarning));
  // Not for good; too small; too few steps after it.
  CHECK(is_healthy(judge(rule, SyntheticRun(), 120, jumps, shift(3, 500, 600))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 120, jumps, shift(0.45, 500))));
  CHECK(is(judge(rule, SyntheticRun(), 120, jumps, shift(0.65, 500)), Severity::kWarning));
  CHECK_FALSE(is(judge(rule, SyntheticRun(), 75, jumps, shift(3, 500)), Severity::kWarning));
  CHECK(is_not_evaluated(judge(rule, token_run(), 120, learning, shift(3, 500))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 40, learning)));
  // A drift, though it goes as far and the loss rises.
  const Fault drift = [](StepRecord& record) {
    for (std::size_t f = 0; f < 4; ++f)
      record.set(Quantity::kInputMean, f, record.at(Quantity::kInputMean, f) + 3e-3 * static_cast<double>(record.step));
  };
  const auto rising = [](std::int64_t step) { return learning(step) + (step >= 220 ? 2 : 0); };
  CHECK(is(judge(rule, SyntheticRun(), 120, rising, drift), Severity::kInfo));
  // Agents move on through their world.
  SyntheticRun agent;
  agent.run.info.loss_kind = "reinforcement";
  CHECK(is(judge(rule, agent, 120, jumps, shift(3, 500)), Severity::kInfo));
}

TEST_CASE("a change of scale is a shift as well", "[rules][input-shift]") {
  const Fault scaled = [](StepRecord& record) {
    for (std::size_t f = 0; f < 4; ++f)
      if (record.step >= 500) record.set(Quantity::kInputStd, f, 5 * record.at(Quantity::kInputStd, f));
  };
  const Outcome outcome = judge("input-shift", SyntheticRun(), 120, learning, scaled);
  REQUIRE(is(outcome, Severity::kInfo));
  CHECK(first_finding(outcome).message.find("standard deviation of the input went") != std::string::npos);
}

TEST_CASE("batches of one class are told, as an error when the loss jumps from class to class",
          "[rules][ordered-batches]") {
  const std::string rule = "ordered-batches";
  const auto entropy = [](double value) { return always(Quantity::kTargetBatchEntropy, value); };
  const Outcome outcome = judge(rule, SyntheticRun(), 60, learning, entropy(0));
  REQUIRE(is(outcome, Severity::kWarning));
  REQUIRE(recommends(first_finding(outcome), "shuffle-data"));
  CHECK(first_finding(outcome).recommendations.at(0).code.find("batch_size(64)") != std::string::npos);
  CHECK(is(judge(rule, SyntheticRun(), 60, stuck, entropy(0)), Severity::kError));
  const auto sawtooth = [](std::int64_t step) { return step >= 100 && step % 100 == 0 ? 5.0 : 0.05; };
  CHECK(is(judge(
               rule, SyntheticRun(), 60, [&](std::int64_t s) { return s < 8 ? 2.3 : sawtooth(s); }, entropy(0)),
           Severity::kError));
  // A quarter of 2.3 is 0.575.
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, entropy(0.55)), Severity::kWarning));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, entropy(0.6))));
}

TEST_CASE("what cannot be sorted by class is not judged for order", "[rules][ordered-batches]") {
  const std::string rule = "ordered-batches";
  const Fault sorted = always(Quantity::kTargetBatchEntropy, 0);
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, both(sorted, always(Quantity::kBatchSize, 7)))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, both(sorted, always(Quantity::kTargetClasses, 2)))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, both(sorted, always(Quantity::kTargetEntropy, 0.4)))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, regression(0, 1))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 19, learning, sorted)));
}

namespace {

Fault same_batch(double samples) {
  return [=](StepRecord& record) {
    for (std::size_t f = 0; f < 4; ++f) {
      record.set(Quantity::kInputMean, f, 0.1 * static_cast<double>(f));
      record.set(Quantity::kInputStd, f, 1);
    }
    record.set(Quantity::kBatchSize, samples);
  };
}

double memorised(std::int64_t step) { return 2.3 * std::exp(-static_cast<double>(step) / 30); }

}  // namespace

TEST_CASE("the same batch in every step is information, learnt by heart beside other data a warning",
          "[rules][repeated-batch]") {
  const std::string rule = "repeated-batch";
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, same_batch(32)), Severity::kInfo));
  const Outcome outcome = judge(rule, SyntheticRun(), 60, memorised, same_batch(32));
  REQUIRE(is(outcome, Severity::kWarning));  // The evaluation has 64 samples.
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(recommends(first_finding(outcome), "check-loader"));
  // A small data set that is trained on as a whole.
  const Fault no_more = always(Quantity::kEvalSamples, 32);
  CHECK(is(judge(rule, SyntheticRun(), 60, memorised, both(same_batch(32), no_more)), Severity::kInfo));
  CHECK(is(judge(rule, SyntheticRun(), 60, memorised, both(same_batch(64), always(Quantity::kEvalSamples, 100))),
           Severity::kInfo));
  SyntheticRun validated;
  validated.run.of(Axis::kNamed).push_back({"val_loss", "", "", "", "", 1});
  const Fault bad_elsewhere = always(Quantity::kNamedValue, 3);
  CHECK(is(judge(rule, validated, 60, memorised, both(both(same_batch(32), no_more), bad_elsewhere)),
           Severity::kWarning));
}

TEST_CASE("batches that differ in the last digit are different", "[rules][repeated-batch]") {
  const std::string rule = "repeated-batch";
  const auto differ = [](std::int64_t each) {
    return both(same_batch(32), [=](StepRecord& record) {
      const std::int64_t n = record.step < 20 ? record.step : 20 + (record.step - 20) / 10;
      if (n % each == 0) record.set(Quantity::kInputMean, 0, 1e-6 * static_cast<double>(n + 1));
    });
  };
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, memorised, differ(2))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, memorised, differ(20))));
  CHECK(is(judge(rule, SyntheticRun(), 60, memorised, differ(100)), Severity::kWarning));
  CHECK(
      is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, both(same_batch(32), features(Quantity::kInputStd, 0)))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, without_input())));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 25, learning, same_batch(32))));
}

TEST_CASE("evaluation on other inputs than training is a warning, with the missing division",
          "[rules][eval-input-mismatch]") {
  const std::string rule = "eval-input-mismatch";
  const auto evaluation = [](double mean, double deviation, double samples = 64) {
    return [=](StepRecord& record) {
      if (record.step % 50 != 0) return;
      record.set(Quantity::kEvalSamples, samples);
      record.set(Quantity::kEvalInputMean, mean);
      record.set(Quantity::kEvalInputStd, deviation);
    };
  };
  const Outcome outcome = judge(rule, SyntheticRun(), 60, learning, evaluation(30, 255));
  REQUIRE(is(outcome, Severity::kWarning));
  CHECK(value_of(first_finding(outcome), "scale") == 255);
  CHECK(first_finding(outcome).recommendations.at(0).code.find("div(255)") != std::string::npos);
  // Only training is normalised by mean and deviation: no factor of 255.
  const Outcome other = judge(rule, SyntheticRun(), 60, learning, evaluation(4, 1));
  REQUIRE(is(other, Severity::kWarning));
  CHECK(first_finding(other).recommendations.at(0).text.find("guess") != std::string::npos);
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, evaluation(2.8, 1))));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, evaluation(3.2, 1)), Severity::kWarning));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, evaluation(0, 4.8))));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, evaluation(0, 0.18)), Severity::kWarning));
}

TEST_CASE("few or single evaluations and token ids are not compared", "[rules][eval-input-mismatch]") {
  const std::string rule = "eval-input-mismatch";
  const auto at = [](std::int64_t first, double samples) {
    return [=](StepRecord& record) {
      for (const Quantity q : {Quantity::kEvalSamples, Quantity::kEvalInputMean, Quantity::kEvalInputStd})
        record.set(q, NAN);
      if (record.step != first && first >= 0) return;
      record.set(Quantity::kEvalSamples, samples);
      record.set(Quantity::kEvalInputMean, 100);
      record.set(Quantity::kEvalInputStd, 1);
    };
  };
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, at(-1, 8)), Severity::kWarning));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, learning, at(-1, 7))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, learning, at(50, 64))));
  CHECK(is_not_evaluated(judge(rule, token_run(), 60, learning, at(-1, 64))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, learning, both(at(-1, 64), without_input()))));
}

TEST_CASE("large targets are an error where they do harm, and nothing but information where they are learnt",
          "[rules][unnormalized-target]") {
  const std::string rule = "unnormalized-target";
  const auto at_constant = [](std::int64_t step) { return 1e4 + 1600.0 + 10 * std::sin(static_cast<double>(step)); };
  const Outcome outcome = judge(rule, SyntheticRun(), 60, at_constant, regression(100, 40));
  REQUIRE(is(outcome, Severity::kError));
  const Finding& finding = first_finding(outcome);
  CHECK(finding.first_step == 0);
  REQUIRE(recommends(finding, "normalize-target"));
  CHECK(std::abs(value_of(finding, "mean") - 100) < 1e-9);
  CHECK(std::abs(value_of(finding, "std") - 40) < 1e-9);
  CHECK(finding.recommendations[0].code.find("torch::mse_loss(output, (target - target_mean) / target_std)") !=
        std::string::npos);
  const auto explodes = [](std::int64_t step) {
    return 1e4 * std::pow(10.0, std::min<double>(static_cast<double>(step), 30));
  };
  CHECK(is(judge(rule, SyntheticRun(), 8, explodes, regression(100, 40)), Severity::kError));
  const auto falls_to = [](double share) {
    return [=](std::int64_t step) { return 1e4 * (share + (1 - share) * std::exp(-static_cast<double>(step) / 40)); };
  };
  CHECK(is(judge(rule, SyntheticRun(), 60, falls_to(0.05), regression(100, 40)), Severity::kInfo));
  CHECK(is(judge(rule, SyntheticRun(), 60, falls_to(0.12), regression(100, 40)), Severity::kWarning));
  CHECK(is(judge(rule, SyntheticRun(), 60, falls_to(0.17), regression(100, 40)), Severity::kError));
  // Too early to tell.
  CHECK(is(judge(rule, SyntheticRun(), 37, falls_to(0.12), regression(100, 40)), Severity::kInfo));
}

TEST_CASE("targets of unit scale and classes are no target to normalise", "[rules][unnormalized-target]") {
  const std::string rule = "unnormalized-target";
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, regression(0, 1))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, regression(0, 29))));
  CHECK_FALSE(is_healthy(judge(rule, SyntheticRun(), 60, stuck, regression(0, 31))));
  CHECK_FALSE(is_healthy(judge(rule, SyntheticRun(), 60, stuck, regression(-31, 1))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck)));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 15, learning, regression(0, 1))));
}

namespace {

/// Targets of a binary loss.
Fault binary_targets(double low, double high, const std::string& op = "binary_cross_entropy_with_logits") {
  return both(regression(0.5 * (low + high), 0.25 * (high - low)), [=](StepRecord& record) {
    record.events.clear();
    if (record.step == 0)
      record.events.push_back(
          {0, "loss-operator", "fc3", "op=" + op + " prediction=64x1:float32 target=64x1:float32 reduction=mean"});
    record.set(Quantity::kTargetMin, low);
    record.set(Quantity::kTargetMax, high);
  });
}

}  // namespace

TEST_CASE("targets of a binary loss beyond 0 and 1 are an error, with what brings them there",
          "[rules][target-out-of-range]") {
  const std::string rule = "target-out-of-range";
  const Outcome pixels = judge(rule, SyntheticRun(), 60, learning, binary_targets(0, 255));
  REQUIRE(is(pixels, Severity::kError));
  CHECK(first_finding(pixels).subject.name == "fc3");
  CHECK(first_finding(pixels).first_step == 0);
  REQUIRE(recommends(first_finding(pixels), "rescale-target"));
  CHECK(first_finding(pixels).recommendations[0].code.find("(output, target / 255.0)") != std::string::npos);
  const Outcome labels = judge(rule, SyntheticRun(), 60, learning, binary_targets(-1, 1, "binary_cross_entropy"));
  REQUIRE(is(labels, Severity::kError));
  CHECK(first_finding(labels).recommendations[0].code ==
        "loss = torch::binary_cross_entropy(output, (target + 1) / 2);");
  CHECK(value_of(first_finding(labels), "mean") == -1);
  CHECK(value_of(first_finding(labels), "std") == 2);
  const Outcome classes = judge(rule, SyntheticRun(), 60, learning, binary_targets(0, 3));
  REQUIRE(is(classes, Severity::kError));
  CHECK(value_of(first_finding(classes), "std") == 3);
  const Outcome numbers = judge(rule, SyntheticRun(), 60, learning, binary_targets(-40, 7));
  REQUIRE(is(numbers, Severity::kError));
  CHECK(first_finding(numbers).recommendations[0].code == "loss = torch::mse_loss(output, target);");
  CHECK(is(judge(rule, SyntheticRun(), 1, learning, binary_targets(0, 255)), Severity::kError));
}

TEST_CASE("probabilities, noisy ones and other losses' targets are in range", "[rules][target-out-of-range]") {
  const std::string rule = "target-out-of-range";
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, binary_targets(0, 1))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, binary_targets(0, 1.0009))));
  const Outcome noisy = judge(rule, SyntheticRun(), 60, learning, binary_targets(0, 1.2));
  REQUIRE(is(noisy, Severity::kInfo));
  CHECK(recommends(first_finding(noisy), "clamp-target"));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, binary_targets(0, 1.49)), Severity::kInfo));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, binary_targets(-0.51, 1)), Severity::kError));
  const auto half = [](std::int64_t from) {
    return [=](StepRecord& record) { binary_targets(0, record.step < from ? 1 : 255)(record); };
  };
  CHECK(is_healthy(judge(rule, SyntheticRun(), 39, learning, half(20))));  // 19 of 39.
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, learning, regression(100, 50))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, learning)));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 9, learning, binary_targets(0, 1))));
}

TEST_CASE("targets of one class only are a warning", "[rules][constant-target]") {
  const std::string rule = "constant-target";
  // What its formula leaves of 0.
  const double zero = GENERATE(0.0, 8e-16);
  const Fault constant = both(always(Quantity::kTargetEntropy, zero), always(Quantity::kTargetMax, 3));
  const Outcome outcome = judge(rule, SyntheticRun(), 60, learning, constant);
  REQUIRE(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).message.find("of class 3") != std::string::npos);
  CHECK(recommends(first_finding(outcome), "check-targets"));
  CHECK(first_finding(outcome).recommendations[1].code.find("batch_size(64)") != std::string::npos);
  CHECK(is(judge(rule, SyntheticRun(), 20, learning, constant), Severity::kWarning));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 19, learning, constant)));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, [&](StepRecord& record) {
    constant(record);
    if (record.step >= 100) record.set(Quantity::kTargetEntropy, 0.01);
  })));
  const auto batch = [&](double samples) { return both(constant, always(Quantity::kBatchSize, samples)); };
  CHECK(is(judge(rule, SyntheticRun(), 20, learning, batch(10)), Severity::kWarning));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 20, learning, batch(9))));
  // Of two classes one may be rare: 46 and 47 batches of 64 are 2,944 and 3,008 targets.
  const Fault two = both(constant, always(Quantity::kTargetClasses, 2));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 46, learning, two)));
  CHECK(is(judge(rule, SyntheticRun(), 47, learning, two), Severity::kWarning));
}

TEST_CASE("constant targets of logits that no layer gives are a contrastive loss", "[rules][constant-target]") {
  const std::string op = "op=cross_entropy_loss prediction=64x65:float32 target=64:int64 reduction=mean";
  const Fault constant = always(Quantity::kTargetEntropy, 0);
  CHECK(
      is_not_evaluated(judge("constant-target", SyntheticRun(), 60, learning, both(loss_operator(op, ""), constant))));
  CHECK(is(judge("constant-target", SyntheticRun(), 60, learning, both(loss_operator(op), constant)),
           Severity::kWarning));
}
