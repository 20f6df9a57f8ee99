#include <cmath>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/recorded_loop.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace nn = torch::nn;
namespace F = torch::nn::functional;

TEST_CASE("modes are those of the operators that were differentiated", "[hooks][modes]") {
  torch::manual_seed(4);
  nn::Sequential net(nn::Linear(4, 6), nn::BatchNorm1d(6), nn::Dropout(0.5), nn::Linear(6, 6), nn::BatchNorm1d(6),
                     nn::Dropout(0.5), nn::Dropout(0.0));
  const bool training = GENERATE(true, false);
  net->train(training);
  const Rows rows = record_steps(*net, 2, [&](int) {
    net->train(!training);
    net->forward(torch::randn({8, 4}));  // Nobody differentiates this one.
    net->train(training);
    return net->forward(torch::randn({8, 4})).square().mean();
  });
  CHECK(rows.rows[1].at(Quantity::kNormsTraining) == (training ? 2 : 0));
  CHECK(rows.rows[1].at(Quantity::kNormsEvaluation) == (training ? 0 : 2));
  CHECK(rows.rows[1].at(Quantity::kDropoutsTraining) == (training ? 2 : 0));
  CHECK(rows.rows[1].at(Quantity::kDropoutsEvaluation) == (training ? 0 : 2));
}

TEST_CASE("a functional dropout drops whatever the module's mode", "[hooks][modes]") {
  nn::Linear layer(4, 6);
  nn::Sequential net(layer);
  net->eval();
  const Rows rows = record_steps(*net, 1, [&](int) {
    return F::dropout(net->forward(torch::randn({8, 4}))).square().mean();
  });
  CHECK(rows.rows[0].at(Quantity::kDropoutsTraining) == 1);
  CHECK(rows.rows[0].at(Quantity::kDropoutsEvaluation) == 0);
}

TEST_CASE("a model without norms and dropouts has no modes", "[hooks][modes]") {
  nn::Sequential net(nn::Linear(4, 6), nn::LayerNorm(nn::LayerNormOptions({6})));
  const Rows rows = record_steps(*net, 1, [&](int) { return net->forward(torch::randn({8, 4})).square().mean(); });
  CHECK(std::isnan(rows.rows[0].at(Quantity::kNormsTraining)));
  CHECK(std::isnan(rows.rows[0].at(Quantity::kDropoutsTraining)));
}
