#include <algorithm>
#include <cmath>

#include "rules/loss_cases.h"
#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

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
