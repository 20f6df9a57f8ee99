#include <cmath>

#include "rules/support/layers.h"
#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

const std::string kVanishing = "vanishing-gradient";
const std::string kJacobian = "jacobian-growth";

SyntheticOptions depth(std::size_t layers, const std::string& activation = "relu") {
  SyntheticOptions options;
  options.layers = layers;
  options.noise = 0.05;
  options.activation = activation;
  return options;
}

double flat(std::int64_t) { return 0.693; }

/// A chain in which each layer multiplies the gradient at activations by `backward` and that of the
/// weights by `weights` on its way to the input.
Fault chain(std::size_t layers, double backward, double weights) {
  return [=](StepRecord& record) {
    for (std::size_t layer = 0; layer < layers; ++layer) {
      const auto way = static_cast<double>(layers - 1 - layer);
      record.set(Quantity::kActivationGradientNorm, SyntheticRun::output(layer),
                 std::pow(backward, way) * record.at(Quantity::kActivationGradientNorm, SyntheticRun::output(layer)));
      record.set(Quantity::kGradientNorm, SyntheticRun::weight(layer),
                 std::pow(weights, way) * record.at(Quantity::kGradientNorm, SyntheticRun::weight(layer)));
    }
  };
}

}  // namespace

TEST_CASE("a deep sigmoid chain that stands still vanishes", "[rules][vanishing-gradient]") {
  const auto judged = [](std::size_t records) {
    return judge(kVanishing, SyntheticRun(depth(8, "sigmoid")), records, flat, chain(8, 0.25, 0.25));
  };
  CHECK(is_not_evaluated(judged(19)));
  CHECK(is(judged(21), Severity::kWarning));
  CHECK(is(judged(30), Severity::kError));
  CHECK(first_finding(judged(30)).first_step == 0);
  CHECK(first_finding(judged(30)).subject.name == "fc0.weight");
  CHECK(first_finding(judged(30)).recommendations.at(0).id == "use-relu");
}

TEST_CASE("the ratio of gradients counts from its threshold on, at any scale", "[rules][vanishing-gradient]") {
  for (const double scale : {1.0, 1000.0}) {
    const auto judged = [scale](double ratio) {
      const double step = std::pow(ratio, 1.0 / 5);
      return judge(
          kVanishing, SyntheticRun(depth(6)), 40, [scale](std::int64_t) { return 0.693 * scale; },
          [scale, step](StepRecord& record) {
            chain(6, 1, step)(record);
            for (std::size_t i = 0; i < 12; ++i)
              record.set(Quantity::kGradientNorm, i, scale * record.at(Quantity::kGradientNorm, i));
          });
    };
    CHECK(is_healthy(judged(1.5e-3)));
    CHECK(is(judged(0.6e-3), Severity::kError));
  }
}

TEST_CASE("small early gradients are healthy while the loss falls or the whole gradient is small",
          "[rules][vanishing-gradient]") {
  CHECK(is_healthy(judge(kVanishing, SyntheticRun(depth(8)), 60, learning, chain(8, 0.25, 0.25))));
  CHECK(is_healthy(judge(kVanishing, SyntheticRun(depth(8)), 60, flat, [](StepRecord& record) {
    for (std::size_t i = 0; i < 16; ++i) record.set(Quantity::kGradientNorm, i, 1e-9);
  })));
}

TEST_CASE("frozen first layers and one loud last layer are healthy", "[rules][vanishing-gradient]") {
  CHECK(is_healthy(judge(kVanishing, SyntheticRun(depth(8)), 60, flat, [](StepRecord& record) {
    for (std::size_t i = 0; i < 4; ++i) record.set(Quantity::kGradientNorm, i, NAN);
  })));
  CHECK(is_healthy(judge(kVanishing, SyntheticRun(depth(8)), 60, flat, [](StepRecord& record) {
    record.set(Quantity::kGradientNorm, SyntheticRun::weight(7), 1e4);
  })));
}

TEST_CASE("while the learning rate rises nothing is held against a run", "[rules][vanishing-gradient]") {
  CHECK(is_not_evaluated(judge(kVanishing, SyntheticRun(depth(8)), 60, flat, [](StepRecord& record) {
    chain(8, 0.25, 0.25)(record);
    record.set(Quantity::kLearningRate, 1e-6 * static_cast<double>(record.step + 1));
  })));
}

TEST_CASE("two layers have no depth", "[rules][vanishing-gradient][jacobian-growth]") {
  CHECK(is_not_evaluated(judge(kVanishing, SyntheticRun(depth(2)), 60, flat)));
  CHECK(is_not_evaluated(judge(kJacobian, SyntheticRun(depth(2)), 60, flat)));
}

TEST_CASE("default initialisation of one to five hidden layers is healthy", "[rules][jacobian-growth]") {
  for (std::size_t hidden = 1; hidden <= 5; ++hidden) {
    CAPTURE(hidden);
    // 1/√6 a layer backward; forward shrinks as well, so that the gradients of weights stay level.
    for (const Loss& loss : {Loss(learning), Loss(flat)}) {
      const Outcome outcome =
          judge(kJacobian, SyntheticRun(depth(hidden + 1)), 60, loss, chain(hidden + 1, 1 / std::sqrt(6.0), 1));
      CHECK((hidden == 1 ? is_not_evaluated(outcome) : is_healthy(outcome)));
    }
  }
}

TEST_CASE("a Jacobian product that shrinks and starves the first layers is an error", "[rules][jacobian-growth]") {
  const auto judged = [](double backward, double weights, const Loss& loss) {
    return judge(kJacobian, SyntheticRun(depth(12)), 40, loss, chain(12, backward, weights));
  };
  const Outcome outcome = judged(0.25, 0.25, flat);
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 0);
  for (const Recommendation& advice : first_finding(outcome).recommendations)
    if (advice.id == "rescale-init") CHECK(std::abs(advice.values.at(0).second.at(0) - 4) < 0.2);
  CHECK(recommends(first_finding(outcome), "add-norm-layer"));
  CHECK(is_healthy(judged(0.25, 1, flat)));
  CHECK(is_healthy(judged(0.25, 0.25, learning)));
  CHECK(is_healthy(judged(0.7, 0.25, flat)));
}

TEST_CASE("functions that flatten out are replaced first", "[rules][jacobian-growth]") {
  const auto first = [](const std::string& function, double saturated) {
    SyntheticOptions options = depth(12);
    options.activation = function;
    const Outcome outcome = judge(kJacobian, SyntheticRun(options), 40, flat, [=](StepRecord& record) {
      chain(12, 0.25, 0.25)(record);
      record.set(Quantity::kActivationSaturatedFraction, SyntheticRun::relu(1), saturated);
    });
    return first_finding(outcome).recommendations.at(0).id;
  };
  CHECK(first("sigmoid", 0) == "use-relu");
  CHECK(first("tanh", 0.6) == "use-relu");
  CHECK(first("tanh", 0.4) == "add-norm-layer");
  CHECK(first("tanh", NAN) == "add-norm-layer");
  CHECK(first("relu", 0.9) == "add-norm-layer");
}

TEST_CASE("what width explains is no growth", "[rules][jacobian-growth]") {
  const auto judged = [](std::int64_t width) {
    SyntheticOptions options = depth(20);
    options.width = width;
    return judge(kJacobian, SyntheticRun(options), 40, flat, chain(20, 0.6, 0.6));
  };
  CHECK(is(judged(512), Severity::kError));  // 0.6^19 = 6e-5
  CHECK(is_healthy(judged(4)));
}

TEST_CASE("a product that grows is an error when the loss explodes", "[rules][jacobian-growth]") {
  const auto exploding = [](std::int64_t step) { return step < 3 ? 2.3 : 1e4; };
  CHECK(is(judge(kJacobian, SyntheticRun(depth(10)), 30, exploding, chain(10, 3, 3)), Severity::kError));
  CHECK(is_healthy(judge(kJacobian, SyntheticRun(depth(10)), 30, learning, chain(10, 3, 3))));
}

TEST_CASE("a model with norm layers is judged against its own start", "[rules][jacobian-growth]") {
  SyntheticRun normed(depth(12));
  normed.run.of(Axis::kActivation).push_back({"bn", "bn", "batch_norm", "", "float32", 64});
  CHECK(is_healthy(judge(kJacobian, normed, 60, flat, chain(12, 0.25, 0.25))));
  CHECK(is(judge(kJacobian, normed, 60, flat,
                 [](StepRecord& record) {
                   if (record.step > 20) chain(12, 0.25, 0.25)(record);
                 }),
           Severity::kError));
}

TEST_CASE("layers are ordered as data passes them, without embeddings", "[rules]") {
  Run run;
  for (const char* module : {"head", "embed", "body", "tied"})
    run.of(Axis::kParameter).push_back({std::string(module) + ".weight", module, "weight", "", "", 4});
  run.of(Axis::kActivation) = {{"embed", "embed", "embedding", "", "", 1},
                               {"body", "body", "addmm", "", "", 1},
                               {"head", "head", "addmm", "", "", 1}};
  rules::Layers layers;
  layers.update(run);
  REQUIRE(layers.all().size() == 3);
  CHECK(layers.all()[0].parameter == 2);
  // Its output was not seen, so it stays behind what is registered before it.
  CHECK(layers.all()[1].parameter == 3);
  CHECK_FALSE(layers.all()[1].activation.has_value());
  CHECK(layers.all()[2].parameter == 0);
}
