#include <cmath>

#include "rules/loss_cases.h"
#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

const std::string kShapes = " prediction=64x10:float32 target=64:int64 reduction=mean";

Fault pattern(const std::string& text, const std::string& subject, std::int64_t step = 0) {
  return [=](StepRecord& record) {
    if (record.step == step) record.events.push_back({step, "operator-pattern", subject, text});
  };
}

Fault prediction(double mean, double low, double high) {
  return [=](StepRecord& record) {
    record.set(Quantity::kPredictionMean, mean);
    record.set(Quantity::kPredictionMin, low);
    record.set(Quantity::kPredictionMax, high);
  };
}

Loss falling_to(double start, double floor) {
  return [=](std::int64_t step) { return floor + (start - floor) * std::exp(-static_cast<double>(step) / 40); };
}

Fault without_events() {
  return [](StepRecord& record) { record.events.clear(); };
}

}  // namespace

TEST_CASE("a softmax in front of cross entropy is an error, below its floor a warning", "[rules][double-softmax]") {
  const std::string rule = "double-softmax";
  const Fault twice = loss_operator("op=cross_entropy_loss produced_by=softmax" + kShapes);
  const Outcome outcome = judge(rule, SyntheticRun(), 60, falling_to(2.3, 1.5), twice);
  REQUIRE(is(outcome, Severity::kError));
  const Finding& finding = first_finding(outcome);
  CHECK(finding.first_step == 0);
  CHECK(finding.subject.name == "fc3");
  REQUIRE(recommends(finding, "pass-logits"));
  CHECK(finding.recommendations[0].code.find("nll_loss(torch::log(output.clamp_min(1e-7)), target)") !=
        std::string::npos);
  // The floor is 1.461; what lies below it cannot have two of them.
  CHECK(is(judge(rule, SyntheticRun(), 60, falling_to(2.3, 1.40), twice), Severity::kError));
  CHECK(is(judge(rule, SyntheticRun(), 60, falling_to(2.3, 1.37), twice), Severity::kWarning));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck,
                         loss_operator("op=cross_entropy_loss produced_by=log_softmax" + kShapes))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, loss_operator("op=nll_loss produced_by=softmax" + kShapes))));
}

TEST_CASE("probabilities as predictions show a double softmax without its operator", "[rules][double-softmax]") {
  const std::string rule = "double-softmax";
  CHECK(is(judge(rule, SyntheticRun(), 60, falling_to(2.3, 1.5), prediction(0.1, 0, 1)), Severity::kError));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, falling_to(2.3, 1.5), prediction(0.12, 0, 1))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, falling_to(2.3, 1.5), prediction(0.1, -0.01, 1))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, falling_to(2.3, 1.5), prediction(0.1, 0, 1.02))));
  // Logits are recorded, so a loss that rests there rests for another reason.
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, falling_to(2.3, 1.4612))));
  const Fault unknown = prediction(NAN, NAN, NAN);
  const Outcome guess = judge(rule, SyntheticRun(), 60, falling_to(2.3, 1.4612), unknown);
  REQUIRE(is(guess, Severity::kInfo));
  CHECK(first_finding(guess).recommendations.at(0).text.find("guess") != std::string::npos);
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, falling_to(2.3, 1.51), unknown)));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, without_events())));
}

TEST_CASE("a softmax over one unit is an error where the loss hangs on it", "[rules][softmax-over-one-unit]") {
  const std::string rule = "softmax-over-one-unit";
  const std::string text = "pattern=softmax-over-one op=softmax left=64x1";
  const Fault output = both(loss_operator("op=binary_cross_entropy prediction=64x1:float32 target=64x1:float32 "
                                          "produced_by=softmax reduction=mean",
                                          "fc3:softmax"),
                            pattern(text, "fc3:softmax"));
  const Outcome outcome = judge(rule, SyntheticRun(), 60, stuck, output);
  REQUIRE(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).subject.name == "fc3:softmax");
  CHECK(recommends(first_finding(outcome), "use-bce-with-logits"));
  // Attention over one key.
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, pattern(text, "attention:softmax"))));
  const auto silent = [&](std::size_t count) {
    return both(pattern(text, "attention:softmax"), [=](StepRecord& record) {
      record.set(Quantity::kGlobalGradientNorm, record.step < static_cast<std::int64_t>(count) ? 0 : 1);
    });
  };
  CHECK(is(judge(rule, SyntheticRun(), 20, stuck, silent(20)), Severity::kError));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 20, stuck, silent(19))));
  CHECK(is(judge(
               rule, SyntheticRun(), 60, [](std::int64_t) { return 0.0; },
               loss_operator("op=cross_entropy_loss prediction=64x1:float32 target=64:int64 reduction=mean")),
           Severity::kError));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, without_events())));
}

TEST_CASE("a softmax along another dimension than the classes is an error", "[rules][softmax-wrong-dimension]") {
  const std::string rule = "softmax-wrong-dimension";
  const Outcome samples = judge(
      rule, SyntheticRun(), 60, stuck,
      pattern("pattern=softmax-beside-classes op=log_softmax left=64x10 output=64x10 along=0", "fc3:log_softmax"));
  REQUIRE(is(samples, Severity::kError));
  const Finding& finding = first_finding(samples);
  CHECK(finding.subject.name == "fc3:log_softmax");
  CHECK(finding.message.find("along dimension 0 of predictions of the shape [64, 10], over the samples") !=
        std::string::npos);
  CHECK(finding.message.find("its 10 classes along dimension 1") != std::string::npos);
  CHECK(finding.evidence.at(0).observed == 0);
  CHECK(finding.evidence.at(0).threshold == 1);
  CHECK(recommends(finding, "softmax-over-classes"));
  const Outcome positions =
      judge(rule, SyntheticRun(), 60, stuck,
            pattern("pattern=softmax-beside-classes op=softmax left=8x5x20 output=8x5x20 along=2", "fc3:softmax"));
  REQUIRE(is(positions, Severity::kError));
  CHECK(first_finding(positions).message.find("over the positions") != std::string::npos);
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck,
                         pattern("pattern=softmax-over-one op=softmax left=64x1 output=64x1", "fc3:softmax"))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, without_events())));
}

TEST_CASE("a column against a row is an error with the reshape as advice", "[rules][broadcast-target]") {
  const std::string rule = "broadcast-target";
  const Fault crossed =
      both(regression(0, 1), loss_operator("op=mse_loss prediction=64x1:float32 target=64:float32 reduction=mean"));
  const auto at_variance = falling_to(1.5, 1);
  const Outcome outcome = judge(rule, SyntheticRun(), 60, at_variance, crossed);
  REQUIRE(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).message.find("[64, 1] with [64]") != std::string::npos);
  REQUIRE(recommends(first_finding(outcome), "match-target-shape"));
  CHECK(first_finding(outcome).recommendations[0].code.find("torch::mse_loss(output, target)") != std::string::npos);
  const Fault by_hand = both(regression(0, 1), pattern("pattern=broadcast-in-loss op=sub left=64x1 right=64 "
                                                       "output=64x64",
                                                       "fc3"));
  CHECK(is(judge(rule, SyntheticRun(), 60, at_variance, by_hand), Severity::kError));
  CHECK(is(judge(rule, SyntheticRun(), 60, falling_to(1.5, 0.01), by_hand), Severity::kWarning));
  const Fault other = both(regression(0, 1), pattern("pattern=broadcast-in-loss op=sub left=64x1x8 right=64x4x1 "
                                                     "output=64x4x8",
                                                     "fc3"));
  CHECK(is(judge(rule, SyntheticRun(), 60, at_variance, other), Severity::kWarning));
}

TEST_CASE("shapes that agree, single samples and class indices are not broadcast", "[rules][broadcast-target]") {
  const std::string rule = "broadcast-target";
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck)));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, regression(0, 1))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck,
                         loss_operator("op=mse_loss prediction=1x1:float32 target=1:float32 reduction=mean"))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, pattern("pattern=log-of-softmax op=log", "fc3"))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, without_events())));
}

TEST_CASE("scores or probabilities in nll_loss are an error", "[rules][nll-without-log-softmax]") {
  const std::string rule = "nll-without-log-softmax";
  const Fault scores = loss_operator("op=nll_loss" + kShapes);
  const Outcome outcome = judge(
      rule, SyntheticRun(), 60, [](std::int64_t s) { return -static_cast<double>(s); }, scores);
  REQUIRE(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(first_finding(outcome).recommendations.at(0).code.find("torch::log_softmax(output, 1)") != std::string::npos);
  const Outcome probabilities = judge(
      rule, SyntheticRun(), 60, [](std::int64_t) { return -0.1; },
      both(loss_operator("op=nll_loss produced_by=softmax" + kShapes), prediction(0.1, 0, 1)));
  REQUIRE(is(probabilities, Severity::kError));
  CHECK(first_finding(probabilities).recommendations.at(0).code.find("torch::log(output") != std::string::npos);
}

TEST_CASE("log-probabilities in nll_loss are healthy however they were made", "[rules][nll-without-log-softmax]") {
  const std::string rule = "nll-without-log-softmax";
  CHECK(is_healthy(
      judge(rule, SyntheticRun(), 60, learning, loss_operator("op=nll_loss produced_by=log_softmax" + kShapes))));
  const Fault logarithm = loss_operator("op=nll_loss produced_by=log" + kShapes);
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, both(logarithm, prediction(-3, -20, 0)))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, both(logarithm, prediction(-3, -20, 0.0009)))));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, both(logarithm, prediction(-3, -20, 0.0011))), Severity::kError));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning)));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, without_events())));
}

TEST_CASE("a sigmoid in front of logits is a warning, without progress an error", "[rules][output-range-mismatch]") {
  const std::string rule = "output-range-mismatch";
  const Fault squeezed = loss_operator(
      "op=binary_cross_entropy_with_logits prediction=64x1:float32 target=64x1:float32 reduction=mean "
      "produced_by=sigmoid");
  const Outcome outcome = judge(rule, SyntheticRun(), 60, learning, squeezed);
  REQUIRE(is(outcome, Severity::kWarning));
  REQUIRE(recommends(first_finding(outcome), "pass-logits"));
  CHECK(first_finding(outcome).recommendations[0].code.find("torch::binary_cross_entropy(output, target)") !=
        std::string::npos);
  CHECK(is(judge(rule, SyntheticRun(), 60, stuck, squeezed), Severity::kError));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck,
                         loss_operator("op=binary_cross_entropy prediction=64x1:float32 target=64x1:float32 "
                                       "reduction=mean produced_by=sigmoid"))));
}

TEST_CASE("targets beyond the output's range are a warning, without progress an error",
          "[rules][output-range-mismatch]") {
  const std::string rule = "output-range-mismatch";
  const Outcome outcome = judge(rule, SyntheticRun(), 60, stuck, regression(50, 10, "sigmoid"));
  REQUIRE(is(outcome, Severity::kError));
  CHECK(recommends(first_finding(outcome), "match-output-range"));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, regression(50, 10, "sigmoid")), Severity::kWarning));
  const Outcome relu = judge(rule, SyntheticRun(), 60, learning, regression(0, 1, "relu"));
  REQUIRE(is(relu, Severity::kWarning));
  CHECK(first_finding(relu).recommendations.at(0).code.find("output = output + -2.0;") != std::string::npos);
  // Targets reach from mean - 2 to mean + 2 deviations.
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, regression(0.5, 0.25, "sigmoid"))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, regression(0, 0.52, "tanh"))));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, regression(0, 0.54, "tanh")), Severity::kWarning));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, regression(50, 10))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, regression(50, 10, "relu"))));
  // Outliers in some batches.
  const Fault rare = both(regression(0.5, 0.25, "sigmoid"), [](StepRecord& record) {
    if (record.step % 3 == 0) record.set(Quantity::kTargetMax, 5);
  });
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, rare)));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, without_events())));
}

TEST_CASE("a loss that is a sum over the batch is information", "[rules][sum-reduced-loss]") {
  const std::string rule = "sum-reduced-loss";
  const Fault sum = loss_operator("op=mse_loss prediction=64x1:float32 target=64x1:float32 reduction=sum");
  const Outcome outcome = judge(rule, SyntheticRun(), 60, learning, sum);
  REQUIRE(is(outcome, Severity::kInfo));
  CHECK(recommends(first_finding(outcome), "mean-reduction"));
  CHECK(is(judge(rule, SyntheticRun(), 60, stuck, both(sum, always(Quantity::kBatchSize, 8))), Severity::kInfo));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, both(sum, always(Quantity::kBatchSize, 7)))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, without_events())));
}

TEST_CASE("a first loss far above ln k is a warning if it stays there, else information", "[rules][initial-loss]") {
  const std::string rule = "initial-loss";
  const Fault wide = both(prediction(0, -40, 40), always(Quantity::kPredictionStd, 10));
  const auto from = [](double start, double tau) {
    return [=](std::int64_t step) { return 0.3 + (start - 0.3) * std::exp(-static_cast<double>(step) / tau); };
  };
  const Outcome outcome = judge(rule, SyntheticRun(), 60, from(20, 900), wide);
  REQUIRE(is(outcome, Severity::kWarning));
  const Finding& finding = first_finding(outcome);
  CHECK(finding.first_step == 0);
  CHECK(finding.subject.name == "fc3.weight");
  REQUIRE(recommends(finding, "scale-init"));
  CHECK(finding.recommendations[0].code.find("net->named_parameters()[\"fc3.weight\"].mul_(0.05)") !=
        std::string::npos);
  CHECK(is(judge(rule, SyntheticRun(), 60, from(20, 60), wide), Severity::kInfo));
  // 3 ln 10 is 6.91, 1.5 ln 10 is 3.45.
  CHECK(is(judge(rule, SyntheticRun(), 60, from(7.0, 900), wide), Severity::kWarning));
  CHECK(is(judge(rule, SyntheticRun(), 60, from(6.8, 900), wide), Severity::kInfo));
  CHECK(is(judge(rule, SyntheticRun(), 60, from(3.5, 900), wide), Severity::kInfo));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, from(3.4, 900), wide)));
}

TEST_CASE("losses that ln k says nothing about are not judged by it", "[rules][initial-loss]") {
  const std::string rule = "initial-loss";
  const Fault wide = prediction(0, -40, 40);
  const auto high = [](std::int64_t) { return 20.0; };
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, high, regression(0, 1))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, high, both(wide, always(Quantity::kTargetClasses, NAN)))));
  // Scaled: logits between -3 and 3 give no more than ln 10 + 6.
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, high)));
  SyntheticRun continued;
  continued.run.info.first_step = 1000;
  CHECK(is_not_evaluated(judge(rule, continued, 60, high, wide)));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 40, learning)));
}
