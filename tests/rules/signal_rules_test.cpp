#include <cmath>
#include <string>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

double flat(std::int64_t) { return 0.693; }

SyntheticOptions net(std::size_t layers, const std::string& activation) {
  SyntheticOptions options;
  options.layers = layers;
  options.activation = activation;
  options.noise = 0.02;
  return options;
}

Fault saturated(std::size_t activation, double fraction, std::int64_t from = 0) {
  return [=](StepRecord& record) {
    if (record.step >= from) record.set(Quantity::kActivationSaturatedFraction, activation, fraction);
  };
}

Outcome saturates(SyntheticRun run, std::size_t records, const Loss& loss, const Fault& fault) {
  return judge("saturated-activation", std::move(run), records, loss, fault);
}

}  // namespace

TEST_CASE("a hidden tanh that saturates is told, an error when the loss stands still",
          "[rules][saturated-activation]") {
  const SyntheticRun run(net(4, "tanh"));
  CHECK(is_not_evaluated(saturates(run, 9, flat, saturated(3, 0.95))));
  const Outcome outcome = saturates(run, 10, flat, saturated(3, 0.95));
  CHECK(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(first_finding(outcome).subject.name == "fc1:tanh");
  CHECK(first_finding(outcome).recommendations.at(0).id == "glorot-init");
  CHECK(is(saturates(run, 60, flat, saturated(3, 0.95)), Severity::kError));
  CHECK(is(saturates(run, 60, learning, saturated(3, 0.95)), Severity::kInfo));
  const Outcome later = saturates(run, 60, flat, saturated(3, 0.95, 130));
  CHECK(first_finding(later).first_step == 130);
  CHECK(first_finding(later).recommendations.at(0).id == "add-norm-layer");
  CHECK(is_healthy(saturates(run, 60, flat, saturated(3, 0.89))));
  CHECK(is(saturates(run, 60, flat, saturated(3, 0.91)), Severity::kError));
}

TEST_CASE("without the share of saturated elements their moments tell", "[rules][saturated-activation]") {
  const auto judged = [](const std::string& activation, double mean, double rms) {
    return saturates(SyntheticRun(net(4, activation)), 60, flat, [=](StepRecord& record) {
      for (const std::size_t layer : {0, 1, 2}) {
        const std::size_t i = SyntheticRun::relu(layer);
        record.set(Quantity::kActivationSaturatedFraction, i, NAN);
        record.set(Quantity::kActivationMean, i, layer == 1 ? mean : 0.5);
        record.set(Quantity::kActivationRms, i, layer == 1 ? rms : 0.55);
      }
    });
  };
  CHECK(is(judged("tanh", 0, 0.991), Severity::kError));
  CHECK(is_healthy(judged("tanh", 0, 0.989)));
  CHECK(is(judged("sigmoid", 0.5, std::sqrt(0.5 - 0.004)), Severity::kError));  // 4 · 0.004 = 0.016
  CHECK(is_healthy(judged("sigmoid", 0.5, std::sqrt(0.5 - 0.006))));
}

TEST_CASE("gates, outputs and recurrent layers may saturate", "[rules][saturated-activation]") {
  const auto judged = [](SyntheticRun run, const Fault& fault) { return saturates(std::move(run), 60, flat, fault); };
  SyntheticRun ends_in_sigmoid(net(3, "tanh"));
  ends_in_sigmoid.run.of(Axis::kActivation).push_back({"fc2:sigmoid", "fc2", "sigmoid", "", "float32", 64});
  CHECK(is_healthy(judged(ends_in_sigmoid, saturated(5, 1))));

  SyntheticRun compared(net(4, "tanh"));
  CHECK(is_healthy(judged(compared, [](StepRecord& record) {
    record.set(Quantity::kActivationSaturatedFraction, 3, 1);
    record.events.push_back({record.step, "loss-operator", "fc1:tanh", "op=mse_loss"});
  })));

  SyntheticRun gate(net(4, "tanh"));
  gate.run.of(Axis::kActivation)[3].size = 16;  // A chunk of what fc1 gives.
  CHECK(is_healthy(judged(gate, saturated(3, 1))));

  SyntheticRun recurrent(net(4, "tanh"));
  recurrent.run.of(Axis::kActivation)[2].kind = "lstm";
  CHECK(is_healthy(judged(recurrent, saturated(3, 1))));

  SyntheticRun head(net(4, "tanh"));
  head.run.of(Axis::kActivation)[2].size = 1;
  head.run.of(Axis::kActivation)[3].size = 1;  // The next layer takes 64: another branch.
  CHECK(is_healthy(judged(head, saturated(3, 1))));

  CHECK(is_not_evaluated(judged(SyntheticRun(), {})));
}

namespace {

/// Outputs of the layers grow by `factor` each, from a step on.
Fault grows(std::size_t layers, double factor, std::int64_t from = 0) {
  return [=](StepRecord& record) {
    if (record.step < from) return;
    for (std::size_t layer = 0; layer < layers; ++layer) {
      const std::size_t i = SyntheticRun::output(layer);
      record.set(Quantity::kActivationRms, i,
                 std::pow(factor, static_cast<double>(layer)) * record.at(Quantity::kActivationRms, i));
    }
  };
}

Outcome growth(const std::string& rule, std::size_t layers, const Loss& loss, const Fault& fault,
               std::size_t records = 60) {
  return judge(rule, SyntheticRun(net(layers, "relu")), records, loss, fault);
}

}  // namespace

TEST_CASE("a signal that grows with depth is an error when the loss suffers", "[rules][exploding-activation]") {
  const std::string rule = "exploding-activation";
  CHECK(is_not_evaluated(growth(rule, 12, flat, grows(12, 3), 4)));
  CHECK(is(growth(rule, 12, flat, grows(12, 3), 5), Severity::kWarning));
  const Outcome outcome = growth(rule, 12, flat, grows(12, 3));
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(first_finding(outcome).subject.name == "fc10");
  CHECK(recommends(first_finding(outcome), "he-init"));
  for (const Recommendation& advice : first_finding(outcome).recommendations)
    if (advice.id == "scale-init") CHECK(std::abs(advice.values.at(0).second.at(0) - 1.0 / 3) < 0.02);
  CHECK(is(growth(rule, 12, learning, grows(12, 3)), Severity::kInfo));
  CHECK(first_finding(growth(rule, 12, flat, grows(12, 3, 100))).first_step == 100);
  CHECK(is(growth(rule, 12, flat, grows(12, 2.6)), Severity::kError));  // 2.6^10 = 1.4e4
  CHECK(is_healthy(growth(rule, 12, flat, grows(12, 2.4))));            // 2.4^10 = 6.3e3
}

TEST_CASE("a signal that shrinks with depth is an error when the loss suffers", "[rules][vanishing-activation]") {
  const std::string rule = "vanishing-activation";
  const Outcome outcome = growth(rule, 12, flat, grows(12, 1 / 3.0));
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).subject.name == "fc0");
  CHECK(is(growth(rule, 12, flat, grows(12, 1 / 2.6)), Severity::kError));
  CHECK(is_healthy(growth(rule, 12, flat, grows(12, 1 / 2.4))));
  CHECK(is_healthy(growth(rule, 6, flat, grows(6, 0.41))));  // LibTorch's own initialisation.
}

TEST_CASE("one layer with another scale, few layers and single steps are no growth with depth",
          "[rules][exploding-activation][vanishing-activation]") {
  for (const std::string rule : {"exploding-activation", "vanishing-activation"}) {
    CAPTURE(rule);
    for (const double size : {1e6, 1e-6}) {
      CHECK(is_healthy(growth(rule, 12, flat, [=](StepRecord& record) {
        record.set(Quantity::kActivationRms, SyntheticRun::output(0), size);
        record.set(Quantity::kActivationRms, SyntheticRun::output(11), size);
      })));
    }
    CHECK(is_healthy(growth(rule, 12, flat, [=](StepRecord& record) {
      if (record.step % 50 != 0) grows(12, rule == "exploding-activation" ? 5 : 0.2)(record);
    })));
    CHECK(is_not_evaluated(growth(rule, 4, flat, grows(4, 100))));
  }
}

namespace {

Outcome attention(std::size_t records, const Loss& loss, double from, double to, double one_hot,
                  std::size_t softmax = 1, std::int64_t onset = 200) {
  SyntheticRun run;
  run.run.of(Axis::kActivation)[softmax].kind = "_softmax";
  return judge("attention-logit-growth", run, records, loss, [=](StepRecord& record) {
    record.set(Quantity::kActivationLogitStd, softmax, record.step < onset ? from : to);
    record.set(Quantity::kActivationSaturatedFraction, softmax, record.step < onset ? 0.1 : one_hot);
  });
}

}  // namespace

TEST_CASE("attention whose logits grow until it is one-hot is a warning", "[rules][attention-logit-growth]") {
  const Outcome outcome = attention(60, flat, 2, 25, 0.95);
  CHECK(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step == 200);
  CHECK(recommends(first_finding(outcome), "qk-norm"));
  CHECK(is(attention(
               60, [](std::int64_t s) { return s < 300 ? 2.3 : 90.0; }, 2, 25, 0.95),
           Severity::kError));
  CHECK(is(attention(60, learning, 2, 25, 0.95), Severity::kInfo));
  CHECK(is_healthy(attention(60, flat, 2, 19.9, 0.95)));
  CHECK(is(attention(60, flat, 2, 20.1, 0.95), Severity::kWarning));
  CHECK(is_healthy(attention(60, flat, 2.6, 25, 0.95)));
  CHECK(is_healthy(attention(60, flat, 2, 25, 0.89)));
  CHECK(is(attention(60, flat, 2, 25, 0.91), Severity::kWarning));
  // Within a few steps it is the learning rate, whatever else.
  const auto first_advice = [](std::int64_t onset) {
    return first_finding(attention(60, flat, 2, 25, 0.95, 1, onset)).recommendations.at(0).id;
  };
  CHECK(first_advice(40) == "lower-learning-rate");
  CHECK(first_advice(50) == "qk-norm");
}

TEST_CASE("the classifier's softmax may be sharp", "[rules][attention-logit-growth]") {
  CHECK(is_not_evaluated(attention(60, flat, 2, 25, 0.95, 6)));
  CHECK(is_not_evaluated(judge("attention-logit-growth", SyntheticRun(), 60, flat)));
}
