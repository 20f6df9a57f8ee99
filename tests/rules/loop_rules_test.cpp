#include <cmath>

#include "rules/loss_cases.h"
#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

Fault modes(double norms_training, double norms_evaluation, double dropouts_training, double dropouts_evaluation,
            std::int64_t from = 0) {
  return [=](StepRecord& record) {
    if (record.step < from) return;
    record.set(Quantity::kNormsTraining, norms_training);
    record.set(Quantity::kNormsEvaluation, norms_evaluation);
    record.set(Quantity::kDropoutsTraining, dropouts_training);
    record.set(Quantity::kDropoutsEvaluation, dropouts_evaluation);
  };
}

}  // namespace

TEST_CASE("training in evaluation mode is a warning", "[rules][wrong-mode]") {
  const std::string rule = "wrong-mode";
  const Outcome forgotten = judge(rule, SyntheticRun(), 60, learning, modes(0, 2, 0, 1, 100));
  REQUIRE(is(forgotten, Severity::kWarning));
  CHECK(first_finding(forgotten).first_step == 100);
  CHECK(first_finding(forgotten).evidence.size() == 2);
  CHECK(recommends(first_finding(forgotten), "train-mode"));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, modes(0, 2, 0, 1)), Severity::kWarning));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, modes(0, 0, 0, 1)), Severity::kWarning));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, modes(0, 2, 1, 0, 100)), Severity::kWarning));
}

TEST_CASE("norms that are frozen from the beginning are information as long as the model learns",
          "[rules][wrong-mode]") {
  const std::string rule = "wrong-mode";
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, modes(0, 2, 1, 0)), Severity::kInfo));
  CHECK(is(judge(rule, SyntheticRun(), 60, stuck, modes(0, 2, 1, 0)), Severity::kWarning));
  // A frozen backbone with a head that is trained.
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, modes(1, 2, 1, 1))));
  // Some steps in evaluation mode, as when a probe runs between.
  const auto some = [](std::int64_t of_ten) {
    return [=](StepRecord& record) {
      const std::int64_t n = record.step < 20 ? record.step : 20 + (record.step - 20) / 10;
      if (n % 10 < of_ten) modes(0, 2, 0, 1)(record);
    };
  };
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, some(8))));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, some(9)), Severity::kWarning));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, modes(0, 0, 0, 0))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, modes(NAN, NAN, NAN, NAN))));
}

namespace {

Fault evaluation(double norms, double dropouts, std::int64_t every = 50) {
  return [=](StepRecord& record) {
    for (const Quantity q : {Quantity::kEvalSamples, Quantity::kEvalNormsTraining, Quantity::kEvalDropoutsTraining})
      record.set(q, NAN);
    if (record.step % every != 0) return;
    record.set(Quantity::kEvalSamples, 64);
    record.set(Quantity::kEvalNormsTraining, norms);
    record.set(Quantity::kEvalDropoutsTraining, dropouts);
  };
}

}  // namespace

TEST_CASE("batch normalisation that trains in evaluations is a warning, dropout information",
          "[rules][train-mode-in-eval]") {
  const std::string rule = "train-mode-in-eval";
  const Outcome outcome = judge(rule, SyntheticRun(), 60, learning, evaluation(2, 1));
  REQUIRE(is(outcome, Severity::kWarning));
  CHECK(recommends(first_finding(outcome), "eval-mode"));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, evaluation(0, 1)), Severity::kInfo));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, evaluation(0, 0))));
  // A pass in every step is part of the training, as a generator's samples are.
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, evaluation(2, 1, 1)), Severity::kInfo));
  SyntheticRun generator;
  generator.run.info.loss_kind = "adversarial";
  CHECK(is(judge(rule, generator, 60, learning, evaluation(2, 1)), Severity::kInfo));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, learning, evaluation(2, 1, 250))));
  CHECK(is(judge(rule, SyntheticRun(), 61, learning, evaluation(2, 1, 200)), Severity::kWarning));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, learning, evaluation(NAN, NAN))));
}

TEST_CASE("graphs that stay alive are a warning, with slower steps an error", "[rules][growing-graph]") {
  const std::string rule = "growing-graph";
  const auto alive = [](double most) {
    return [=](StepRecord& record) {
      record.set(Quantity::kGraphsAlive, std::min<double>(static_cast<double>(record.step), most));
    };
  };
  const Outcome outcome = judge(rule, SyntheticRun(), 60, learning, alive(20));
  REQUIRE(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step == 1);
  CHECK(recommends(first_finding(outcome), "detach-loss"));
  const auto slower = [&](double by) {
    return both(alive(20), [=](StepRecord& record) {
      record.set(Quantity::kStepTime, 0.01 * (1 + by * static_cast<double>(record.step) / 400));
    });
  };
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, slower(3)), Severity::kError));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, slower(0.2)), Severity::kWarning));
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, alive(10)), Severity::kWarning));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning, alive(9))));
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, learning, always(Quantity::kGraphsAlive, NAN))));
}

TEST_CASE("graphs that are let go of now and then do not grow", "[rules][growing-graph]") {
  const Fault epochs = [](StepRecord& record) {
    const std::int64_t n = record.step < 20 ? record.step : 20 + (record.step - 20) / 10;
    record.set(Quantity::kGraphsAlive, static_cast<double>(n % 20));
  };
  CHECK(is_healthy(judge("growing-graph", SyntheticRun(), 80, learning, epochs)));
}

namespace {

Fault order(const std::string& pattern, std::int64_t step = 3) {
  return [=](StepRecord& record) {
    if (record.step == step) record.events.push_back({step, "loop-order", "", "pattern=" + pattern});
  };
}

Fault gradients(double norm) {
  return [=](StepRecord& record) {
    for (std::size_t i = 0; i < 8; ++i) record.set(Quantity::kGradientNorm, i, norm);
    record.set(Quantity::kGlobalGradientNorm, norm);
  };
}

Fault updates(double ratio) {
  return [=](StepRecord& record) {
    for (std::size_t i = 0; i < 8; ++i) record.set(Quantity::kUpdateRatio, i, ratio);
  };
}

}  // namespace

TEST_CASE("gradients that are cleared before the update are an error when nothing moves", "[rules][loop-order]") {
  const std::string rule = "loop-order";
  const Outcome outcome = judge(rule, SyntheticRun(), 60, stuck, both(order("cleared-before-update"), updates(0)));
  REQUIRE(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 3);
  CHECK(recommends(first_finding(outcome), "order-loop"));
  CHECK(is(judge(rule, SyntheticRun(), 15, learning, both(order("cleared-before-update"), updates(0))),
           Severity::kError));
  // A loss scaler that skips one update.
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, order("cleared-before-update")), Severity::kInfo));
  const Fault half = [](StepRecord& record) {
    if (record.step % 20 == 0) updates(0)(record);
  };
  CHECK(is(judge(rule, SyntheticRun(), 60, learning, both(order("cleared-before-update"), half)), Severity::kWarning));
}

TEST_CASE("activations with gradients and parameters without are an error", "[rules][loop-order]") {
  const std::string rule = "loop-order";
  for (const double gone : {0.0, static_cast<double>(NAN)}) {
    CAPTURE(gone);
    const Outcome outcome = judge(rule, SyntheticRun(), 60, stuck, both(gradients(gone), updates(0)));
    REQUIRE(is(outcome, Severity::kError));
    CHECK(first_finding(outcome).first_step == 0);
    // step() stands behind optimizer.zero_grad(): the weights do move.
    CHECK(is(judge(rule, SyntheticRun(), 60, learning, gradients(gone)), Severity::kWarning));
  }
  const auto some = [](std::int64_t of_ten) {
    return [=](StepRecord& record) {
      const std::int64_t n = record.step < 20 ? record.step : 20 + (record.step - 20) / 10;
      if (n % 10 < of_ten) both(gradients(0), updates(0))(record);
    };
  };
  CHECK(is(judge(rule, SyntheticRun(), 60, stuck, some(9)), Severity::kError));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, some(8))));
}

TEST_CASE("frozen models, dead models and missing gradients of activations are no matter of order",
          "[rules][loop-order]") {
  const std::string rule = "loop-order";
  const Fault frozen = both(gradients(NAN), [](StepRecord& record) {
    if (record.step != 0) return;
    for (std::size_t layer = 0; layer < 4; ++layer)
      for (const char* part : {".weight", ".bias"})
        record.events.push_back({0, "frozen-parameter", "fc" + std::to_string(layer) + part, ""});
  });
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, frozen)));
  const Fault dead = both(gradients(0), [](StepRecord& record) {
    for (std::size_t a = 0; a < 7; ++a) record.set(Quantity::kActivationGradientNorm, a, 0);
  });
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, dead)));
  // A softmax over one unit: the gradient ends behind the last layer's output.
  const Fault one_unit = both(gradients(0), [](StepRecord& record) {
    for (std::size_t a = 0; a < 6; ++a) record.set(Quantity::kActivationGradientNorm, a, 0);
    record.set(Quantity::kActivationGradientNorm, SyntheticRun::output(3), 0);
  });
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, one_unit)));
  for (const std::size_t layer : {0, 2}) {
    CAPTURE(layer);
    const Fault stops = both(gradients(0), [=](StepRecord& record) {
      record.set(Quantity::kActivationGradientNorm, SyntheticRun::output(layer), 0);
    });
    CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, stops)));
  }
}

TEST_CASE("what is not finite is no matter of order", "[rules][loop-order]") {
  const std::string rule = "loop-order";
  for (const Quantity bad : {Quantity::kActivationNonfinite, Quantity::kActivationGradientNonfinite}) {
    const Fault fault = both(gradients(NAN), [=](StepRecord& record) { record.set(bad, 3, 5); });
    CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, fault)));
  }
  CHECK(is_not_evaluated(
      judge(rule, SyntheticRun(), 60, stuck, both(gradients(NAN), always(Quantity::kLossNonfinite, 1)))));
}

TEST_CASE("zeros in the place of gradients, and no gradient at any activation, are cleared gradients",
          "[rules][loop-order]") {
  const std::string rule = "loop-order";
  const Fault forgotten = [](StepRecord& record) {
    for (std::size_t a = 0; a < 7; ++a) record.set(Quantity::kActivationGradientNorm, a, NAN);
  };
  REQUIRE(
      is(judge(rule, SyntheticRun(), 60, stuck, both(gradients(0), both(updates(0), forgotten))), Severity::kError));
  // Gradients that were never made are another matter.
  CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, stuck, both(gradients(NAN), both(updates(0), forgotten)))));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, stuck, forgotten)));
  const Diagnosis diagnosis = diagnose(SyntheticRun(), 60, stuck, both(gradients(0), both(updates(0), forgotten)));
  REQUIRE(!diagnosis.roots.empty());
  CHECK(diagnosis.roots[0].finding.rule == rule);
  for (const DiagnosedFinding& root : diagnosis.roots) CHECK(root.finding.rule != "zero-gradient");
}

TEST_CASE("clipping after the update is a warning, with a loss that blows up an error", "[rules][loop-order]") {
  const std::string rule = "loop-order";
  const Fault late = both(order("changed-after-update"), always(Quantity::kClipThreshold, 0.5));
  const Outcome outcome = judge(rule, SyntheticRun(), 60, learning, late);
  REQUIRE(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).recommendations.at(0).code.find("clip_grad_norm_(net->parameters(), 0.5)") !=
        std::string::npos);
  const auto explodes = [](std::int64_t step) { return step < 10 ? 2.3 : 1e3; };
  CHECK(is(judge(rule, SyntheticRun(), 60, explodes, late), Severity::kError));
  CHECK(is_healthy(judge(rule, SyntheticRun(), 60, learning)));
}
