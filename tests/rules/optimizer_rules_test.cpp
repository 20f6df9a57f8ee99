#include <cmath>
#include <functional>
#include <string>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

double flat(std::int64_t) { return 2.3; }

SyntheticRun in(const std::string& dtype) {
  SyntheticRun run;
  for (Subject& parameter : run.run.of(Axis::kParameter)) parameter.dtype = dtype;
  return run;
}

Outcome rounded(const std::string& dtype, double unchanged, std::size_t records = 40, double rate = 0.1,
                std::int64_t from = 0) {
  return judge("update-lost-to-rounding", in(dtype), records, learning, [=](StepRecord& record) {
    if (record.step >= from) record.set(Quantity::kUnchangedFraction, 2, unchanged);
    record.set(Quantity::kLearningRate, rate);
  });
}

}  // namespace

TEST_CASE("updates that half precision swallows are a warning", "[rules][update-lost-to-rounding]") {
  for (const std::string dtype : {"float16", "bfloat16"}) {
    const Outcome outcome = rounded(dtype, 0.55);
    CHECK(is(outcome, Severity::kWarning));
    CHECK(first_finding(outcome).first_step == 0);
    CHECK(first_finding(outcome).subject.name == "fc1.weight");
    CHECK(recommends(first_finding(outcome), "keep-float-weights"));
    CHECK(first_finding(rounded(dtype, 0.9, 60, 0.1, 100)).first_step == 100);
    CHECK(is_healthy(rounded(dtype, 0.45)));
    CHECK(is_not_evaluated(rounded(dtype, 0.9, 19)));
    CHECK(is_not_evaluated(rounded(dtype, 0.9, 40, 0)));
  }
  CHECK(is_not_evaluated(rounded("float32", 1)));
}

namespace {

/// 64x64 weights whose gradients have elements of this size.
Outcome tiny(double element, const Loss& loss, const std::string& optimizer = "Adam",
             std::optional<double> epsilon = 1e-8, std::size_t records = 60) {
  SyntheticRun run;
  run.run.info.optimizer = optimizer;
  run.run.info.epsilon = epsilon;
  return judge("adam-epsilon-dominates", run, records, loss, [=](StepRecord& record) {
    for (std::size_t i = 0; i < 8; i += 2) record.set(Quantity::kGradientNorm, i, 64 * element);
  });
}

}  // namespace

TEST_CASE("gradients below epsilon are a warning", "[rules][adam-epsilon-dominates]") {
  const Outcome outcome = tiny(0.9e-8, flat);
  CHECK(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step == 0);
  const Recommendation& advice = first_finding(outcome).recommendations.at(0);
  CHECK(advice.id == "lower-epsilon");
  CHECK(std::abs(advice.values.at(0).second.at(0) - 9e-11) < 1e-16);
  CHECK(is(tiny(0.9e-8, learning), Severity::kInfo));
  CHECK(is_healthy(tiny(1.1e-8, flat)));
  CHECK(is_healthy(tiny(0.9e-8, [](std::int64_t step) { return step < 10 ? 2.3 : 0.02; })));
  CHECK(is(tiny(0.9e-8, [](std::int64_t step) { return step < 10 ? 2.3 : 0.03; }), Severity::kInfo));
}

TEST_CASE("without Adam or its epsilon nothing is said about epsilon", "[rules][adam-epsilon-dominates]") {
  CHECK(is_not_evaluated(tiny(1e-12, flat, "SGD")));
  CHECK(is_not_evaluated(tiny(1e-12, flat, "Adam", std::nullopt)));
  CHECK(is_not_evaluated(tiny(1e-12, flat, "AdamW", 1e-8, 49)));
  CHECK(is(tiny(1e-12, flat, "AdamW"), Severity::kWarning));
}

namespace {

const std::string kNotOptimized = "parameter-not-optimized";

/// The optimizer does not hold the first `count` parameters, which stay as they are.
Fault left_out(std::size_t count, double update = 0) {
  return [=](StepRecord& record) {
    static const SyntheticRun names;
    for (std::size_t i = 0; i < count; ++i) {
      record.set(Quantity::kUpdateRatio, i, update);
      if (record.step == 0) record.events.push_back({0, kNotOptimized, names.run.of(Axis::kParameter)[i].name, ""});
    }
  };
}

}  // namespace

TEST_CASE("parameters that no optimizer holds are a warning each module", "[rules][parameter-not-optimized]") {
  const auto judged = [](std::size_t count, const Loss& loss, std::size_t records = 60) {
    return judge(kNotOptimized, SyntheticRun(), records, loss, left_out(count));
  };
  CHECK(is_not_evaluated(judged(2, learning, 4)));
  const Outcome outcome = judged(4, learning, 5);
  CHECK(is(outcome, Severity::kWarning));
  CHECK(std::get<Unhealthy>(outcome).findings.size() == 2);
  CHECK(first_finding(outcome).subject.module == "fc0");
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(first_finding(outcome).recommendations.at(0).id == "rebuild-optimizer");
  CHECK(first_finding(outcome).recommendations.at(0).code.find("SGDOptions(0.1).momentum(0.9)") != std::string::npos);
  CHECK(is(judged(4, flat), Severity::kError));
  CHECK(is(judged(8, learning), Severity::kError));
  CHECK(std::get<Unhealthy>(judged(8, learning)).findings.size() == 1);
}

TEST_CASE("a second optimizer's, frozen and gradient-free parameters are healthy", "[rules][parameter-not-optimized]") {
  CHECK(is_healthy(judge(kNotOptimized, SyntheticRun(), 60, flat, left_out(2, 1e-3))));
  CHECK(is_healthy(judge(kNotOptimized, SyntheticRun(), 60, flat, [](StepRecord& record) {
    left_out(1)(record);
    if (record.step == 0) record.events.push_back({0, "frozen-parameter", "fc0.weight", ""});
  })));
  CHECK(is_healthy(judge(kNotOptimized, SyntheticRun(), 60, flat, [](StepRecord& record) {
    left_out(1)(record);
    record.set(Quantity::kGradientNorm, 0, NAN);
  })));
  SyntheticRun none;
  none.run.info.optimizer.clear();
  CHECK(is_not_evaluated(judge(kNotOptimized, none, 60, flat)));
}

TEST_CASE("normalisations that an optimizer leaves alone are information",
          "[rules][parameter-not-optimized][step-without-effect]") {
  SyntheticRun run;
  run.run.of(Axis::kActivation)[0].kind = "batch_norm";
  CHECK(is(judge(kNotOptimized, run, 60, learning, left_out(2)), Severity::kInfo));
  CHECK(is(judge("step-without-effect", run, 60, learning, left_out(2)), Severity::kInfo));
  CHECK(is(judge("step-without-effect", SyntheticRun(), 60, learning, left_out(2)), Severity::kWarning));
}

TEST_CASE("weights that stand still because no optimizer holds them are one diagnosis",
          "[rules][parameter-not-optimized][diagnosis]") {
  const Diagnosis d = diagnose(SyntheticRun(), 60, learning, left_out(2));
  for (const DiagnosedFinding& root : d.roots) {
    CHECK(root.finding.rule == kNotOptimized);
    CHECK(root.consequences.size() == 2);
  }
  CHECK(d.roots.size() == 1);
}

TEST_CASE("a moment that is not finite is an error from the step on", "[rules][nonfinite-optimizer-state]") {
  const auto judged = [](double count) {
    return judge("nonfinite-optimizer-state", SyntheticRun(), 40, learning, [=](StepRecord& record) {
      record.set(Quantity::kOptimizerStateNonfinite, record.step < 12 ? 0 : count);
      if (record.step == 12 && count > 0)
        record.events.push_back({12, "nonfinite-optimizer-state", "fc1.weight", "moment=exp_avg_sq count=3"});
    });
  };
  const Outcome outcome = judged(3);
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 12);
  CHECK(first_finding(outcome).subject.module == "fc1");
  CHECK(first_finding(outcome).message.find("exp_avg_sq of fc1.weight") != std::string::npos);
  CHECK(first_finding(outcome).recommendations.at(0).id == "restart-from-checkpoint");
  CHECK(is_healthy(judged(0)));
  CHECK(is_not_evaluated(judge("nonfinite-optimizer-state", SyntheticRun(), 40, learning,
                               [](StepRecord& record) { record.set(Quantity::kOptimizerStateNonfinite, NAN); })));
}

namespace {

/// A learning rate that is a function of the step.
Outcome scheduled(const std::function<double(std::int64_t)>& rate, std::size_t records = 60, const Loss& loss = flat) {
  return judge("vanished-learning-rate", SyntheticRun(), records, loss,
               [&](StepRecord& record) { record.set(Quantity::kLearningRate, rate(record.step)); });
}

double per_batch(std::int64_t step) { return 0.1 * std::pow(0.12, step / 30); }

}  // namespace

TEST_CASE("a schedule that is over long before the training is a warning", "[rules][vanished-learning-rate]") {
  const Outcome outcome = scheduled(per_batch);
  REQUIRE(is(outcome, Severity::kWarning));
  // 0.12 to the fifth is 0.000025.
  CHECK(first_finding(outcome).message.find("Since step 150") != std::string::npos);
  CHECK(first_finding(outcome).first_step == 20);  // The last step with the highest rate.
  CHECK(recommends(first_finding(outcome), "slow-schedule"));
  const auto solved = [](std::int64_t step) { return step < 100 ? 2.3 : 0.02; };
  CHECK(is(scheduled(per_batch, 60, solved), Severity::kInfo));
  // Step 300 of 150 to 300 is the first that half of the run lies behind.
  CHECK(is_healthy(scheduled(per_batch, 48)));
  CHECK(is(scheduled(per_batch, 49), Severity::kWarning));
  const auto early = [](std::int64_t step) { return step < 5 ? 0.1 : 1e-6; };
  CHECK(is_healthy(scheduled(early, 29)));              // Step 100.
  CHECK(is(scheduled(early, 30), Severity::kWarning));  // Step 110.
}

TEST_CASE("usual schedules, restarts and rates of zero have not vanished", "[rules][vanished-learning-rate]") {
  CHECK(is_healthy(scheduled(
      [](std::int64_t step) { return 0.05 * (1 + std::cos(M_PI * static_cast<double>(step) / 420.0)) + 1e-12; })));
  CHECK(is_healthy(scheduled([](std::int64_t step) { return 0.1 * std::pow(0.1, step / 110); })));
  CHECK(
      is_healthy(scheduled([](std::int64_t step) { return step < 20 ? 1e-7 * static_cast<double>(step + 1) : 0.1; })));
  CHECK(is_healthy(scheduled([](std::int64_t step) { return step % 100 == 0 ? 0.1 : 1e-6; })));
  CHECK(is_healthy(scheduled([](std::int64_t step) { return step < 30 ? 0.1 : 1.1e-5; })));
  CHECK(is(scheduled([](std::int64_t step) { return step < 30 ? 0.1 : 0.9e-5; }), Severity::kWarning));
  CHECK(is_healthy(scheduled([](std::int64_t step) { return step < 30 ? 0.1 : 0.0; })));
  CHECK(is_not_evaluated(scheduled(per_batch, 19)));
  CHECK(is_not_evaluated(scheduled([](std::int64_t) { return NAN; })));
}
