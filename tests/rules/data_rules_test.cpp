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
