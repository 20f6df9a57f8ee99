#include <cmath>
#include <string>

#include "rules/support/init_advice.h"
#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

double flat(std::int64_t) { return 0.693; }

SyntheticOptions chain(std::size_t layers, std::int64_t width = 64) {
  SyntheticOptions options;
  options.layers = layers;
  options.width = width;
  options.noise = 0.02;
  return options;
}

/// All weights, 64x64, start with `gain` times the scale of He initialisation, and the signal grows as it does.
Fault scaled(double gain, double signal_per_layer, double starved = 1) {
  return [=](StepRecord& record) {
    for (std::size_t layer = 0; layer < 10; ++layer) {
      const auto depth = static_cast<double>(layer);
      record.set(Quantity::kWeightNorm, SyntheticRun::weight(layer), gain * std::sqrt(2.0 * 64));
      record.set(Quantity::kActivationRms, SyntheticRun::output(layer), std::pow(signal_per_layer, depth));
      record.set(Quantity::kGradientNorm, SyntheticRun::weight(layer), 0.2 * std::pow(starved, 9 - depth));
    }
  };
}

Outcome initial(const Loss& loss, const Fault& fault, SyntheticRun run = SyntheticRun(chain(10))) {
  return judge("poor-initialization", std::move(run), 60, loss, fault);
}

}  // namespace

TEST_CASE("the gain of a weight is its deviation times the root of its fan-in", "[rules][poor-initialization]") {
  const auto gain = [](const std::string& shape, std::int64_t size, const std::string& kind) {
    return rules::init_gain({"w", "m", "weight", shape, "float32", size}, kind, std::sqrt(static_cast<double>(size)));
  };
  CHECK(std::abs(gain("8x50", 400, "addmm") - std::sqrt(50.0)) < 1e-9);
  CHECK(std::abs(gain("16x4x3x3", 576, "conv2d") - std::sqrt(36.0)) < 1e-9);
  CHECK(std::abs(gain("4x16x3x3", 576, "conv_transpose2d") - std::sqrt(36.0)) < 1e-9);
  CHECK(std::isnan(gain("", 576, "conv2d")));
  CHECK(std::isnan(gain("576", 576, "addmm")));
}

TEST_CASE("a strange scale alone is information", "[rules][poor-initialization]") {
  for (const Loss& loss : {Loss(flat), Loss(learning)}) {
    CHECK(is(initial(loss, scaled(11, 1)), Severity::kInfo));
    CHECK(is(initial(loss, scaled(0.09, 1)), Severity::kInfo));
    CHECK(is_healthy(initial(loss, scaled(9, 1))));
    CHECK(is_healthy(initial(loss, scaled(0.11, 1))));
    CHECK(is_healthy(initial(loss, scaled(0.41, 0.41))));  // LibTorch's own.
  }
  CHECK(is_not_evaluated(initial(flat, scaled(0, 1))));  // Zeros are a choice.
}

TEST_CASE("weights whose scale makes the signal explode or die are an error with a loss that stands still",
          "[rules][poor-initialization]") {
  const Outcome outcome = initial(flat, scaled(5, 5));
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(first_finding(outcome).recommendations.at(0).id == "he-init");
  CHECK(std::abs(first_finding(outcome).recommendations.at(1).values.at(0).second.at(0) - 0.2) < 1e-3);
  CHECK(is(initial(flat, scaled(0.2, 0.2)), Severity::kError));
  CHECK(is(judge("poor-initialization", SyntheticRun(chain(10)), 12, flat, scaled(5, 5)), Severity::kWarning));
  CHECK(is_healthy(initial(learning, scaled(5, 5))));
  CHECK(is_healthy(initial(flat, scaled(3.9, 5))));
  CHECK(is(initial(flat, scaled(4.1, 5)), Severity::kError));
  CHECK(is_healthy(initial(flat, scaled(5, 2.3))));                 // 2.3^8 = 783
  CHECK(is(initial(flat, scaled(5, 2.4)), Severity::kError));       // 2.4^8 = 1100
  CHECK(is_healthy(initial(flat, scaled(5, 0.2))));                 // Large weights do not make it die.
  CHECK(is(initial(flat, scaled(0.2, 1, 0.2)), Severity::kError));  // Starved first layers.
}

TEST_CASE("weights that leave zero, learned positions and a handful of elements have no initial scale",
          "[rules][poor-initialization]") {
  CHECK(is_healthy(initial(flat, [](StepRecord& record) {
    record.set(Quantity::kWeightNorm, SyntheticRun::weight(2), record.step == 0 ? 0 : 0.01);
  })));
  SyntheticRun positions(chain(10));
  positions.run.of(Axis::kParameter)[4].module = "";
  SyntheticRun few(chain(10));
  few.run.of(Axis::kParameter)[4].shape = "4x8";
  few.run.of(Axis::kParameter)[4].size = 32;
  const Fault tiny = [](StepRecord& record) { record.set(Quantity::kWeightNorm, 4, 0.01); };
  CHECK(is(initial(flat, tiny), Severity::kInfo));
  CHECK(is_healthy(initial(flat, tiny, positions)));
  CHECK(is_healthy(initial(flat, tiny, few)));
}

TEST_CASE("tanh gets Glorot's advice, and a checkpoint's weights are not initial", "[rules][poor-initialization]") {
  SyntheticOptions options = chain(10);
  options.activation = "tanh";
  CHECK(recommends(first_finding(initial(flat, scaled(5, 5), SyntheticRun(options))), "glorot-init"));
  SyntheticRun resumed(chain(10));
  resumed.run.info.first_step = 1000;
  CHECK(is_not_evaluated(initial(flat, scaled(50, 5), resumed)));
}

namespace {

Outcome narrow(std::size_t layers, std::int64_t width, const Loss& loss, const Fault& fault = {}) {
  return judge("deep-narrow-network", SyntheticRun(chain(layers, width)), 60, loss, fault);
}

void starve(StepRecord& record) {
  for (std::size_t layer = 0; layer < 21; ++layer)
    record.set(Quantity::kGradientNorm, SyntheticRun::weight(layer),
               0.2 * std::pow(0.5, 20 - static_cast<double>(layer)));
}

}  // namespace

TEST_CASE("a chain that is too deep for its width is information, a warning when it does not learn",
          "[rules][deep-narrow-network]") {
  const Outcome outcome = narrow(21, 19, learning);  // β = 20/19
  CHECK(is(outcome, Severity::kInfo));
  CHECK(is(narrow(21, 19, flat), Severity::kWarning));
  // From a bad start to the loss of a constant, ln 10, is no learning.
  CHECK(is(narrow(21, 19, [](std::int64_t step) { return 2.3 + 3 * std::exp(-static_cast<double>(step) / 5); }),
           Severity::kWarning));
  CHECK(is(narrow(21, 19, [](std::int64_t step) { return 2 + 3.3 * std::exp(-static_cast<double>(step) / 5); }),
           Severity::kInfo));
  CHECK(recommends(first_finding(outcome), "widen-layers"));
  CHECK(first_finding(outcome).recommendations.at(0).values.at(0).second.at(0) == 80);
  CHECK(is_healthy(narrow(21, 21, flat)));
  CHECK(is(narrow(21, 19, flat, starve), Severity::kWarning));
  CHECK(is(narrow(21, 19, learning, starve), Severity::kInfo));
  CHECK(is_healthy(narrow(21, 21, flat, starve)));
}

TEST_CASE("other nets than chains of linear layers are not judged by their width", "[rules][deep-narrow-network]") {
  CHECK(is_not_evaluated(narrow(2, 1, flat)));
  for (const std::string kind : {"batch_norm", "conv2d", "lstm"}) {
    SyntheticRun run(chain(21, 4));
    run.run.of(Axis::kActivation)[4].kind = kind;
    CHECK(is_not_evaluated(judge("deep-narrow-network", run, 60, flat)));
  }
}
