// What the loss compares, as its operator shows it, against plain tensor arithmetic.
#include <cmath>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/recorded_loop.h"
#include "hooks/statistics/reading.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace nn = torch::nn;
namespace F = torch::nn::functional;
using Texts = std::vector<std::string>;

nn::Sequential net(std::int64_t in, std::int64_t out) {
  torch::manual_seed(4);
  return nn::Sequential(nn::Linear(in, 8), nn::ReLU(), nn::Linear(8, out));
}

double entropy(std::vector<double> counts) {
  double total = 0;
  for (const double count : counts) total += count;
  double nats = 0;
  for (const double count : counts)
    if (count > 0) nats -= count / total * std::log(count / total);
  return nats;
}

auto about(double value) { return Catch::Matchers::WithinAbs(value, 1e-6 * (1 + std::fabs(value))); }

void check_predictions(const StepRecord& row, const torch::Tensor& prediction) {
  const torch::Tensor p = prediction.detach().to(torch::kFloat64);
  CHECK_THAT(row.at(Quantity::kPredictionMean), about(p.mean().item<double>()));
  CHECK_THAT(row.at(Quantity::kPredictionStd), about(p.std(false).item<double>()));
  CHECK_THAT(row.at(Quantity::kPredictionMin), about(p.min().item<double>()));
  CHECK_THAT(row.at(Quantity::kPredictionMax), about(p.max().item<double>()));
  CHECK_THAT(row.at(Quantity::kPredictionSpread), about(p.var(0, false).mean().sqrt().item<double>()));
}

}  // namespace

TEST_CASE("cross entropy shows its classes, their entropy and its logits", "[hooks][loss-operator]") {
  nn::Sequential model = net(5, 4);
  const torch::Tensor x = torch::randn({6, 5});
  const Texts batches{"001122", "333330"};
  torch::Tensor logits;
  const Rows rows = record_steps(*model, 2, [&](int step) {
    std::vector<std::int64_t> classes;
    for (const char digit : batches[static_cast<std::size_t>(step)]) classes.push_back(digit - '0');
    logits = model->forward(x);
    return torch::cross_entropy_loss(logits, torch::tensor(classes, torch::kLong));
  });
  const StepRecord& last = rows.rows[1];
  CHECK(last.at(Quantity::kTargetClasses) == 4);
  CHECK(last.at(Quantity::kTargetMin) == 0);
  CHECK(last.at(Quantity::kTargetMax) == 3);
  CHECK(std::isnan(last.at(Quantity::kTargetMean)));
  CHECK_THAT(rows.rows[0].at(Quantity::kTargetBatchEntropy), about(std::log(3.0)));
  CHECK_THAT(last.at(Quantity::kTargetBatchEntropy), about(entropy({1, 5})));
  CHECK_THAT(last.at(Quantity::kTargetEntropy), about(entropy({3, 2, 2, 5})));
  check_predictions(last, logits);
  CHECK(events_of(rows, "loss-operator") ==
        Texts{"2: op=cross_entropy_loss prediction=6x4:float32 target=6:int64 reduction=mean"});
}

TEST_CASE("targets at the ignored index are none", "[hooks][loss-operator]") {
  nn::Sequential model = net(5, 3);
  const torch::Tensor target = torch::tensor({1, -100, 2, -100}, torch::kLong);
  const Rows rows = record_steps(*model, 1, [&](int) {
    return F::cross_entropy(model->forward(torch::ones({4, 5})), target);
  });
  CHECK(rows.rows[0].at(Quantity::kTargetMin) == 1);
  CHECK_THAT(rows.rows[0].at(Quantity::kTargetBatchEntropy), about(std::log(2.0)));
  CHECK(rows.rows[0].at(Quantity::kPredictionSpread) == 0);  // The same sample four times.
}

TEST_CASE("a regression shows its targets' range, whoever stands first", "[hooks][loss-operator]") {
  nn::Sequential model = net(3, 2);
  const torch::Tensor x = torch::randn({16, 3});
  const torch::Tensor y = torch::randn({16, 2}) * 7 + 100;
  const bool swapped = GENERATE(false, true);
  torch::Tensor prediction;
  const Rows rows = record_steps(*model, 1, [&](int) {
    prediction = model->forward(x);
    return swapped ? torch::mse_loss(y, prediction, at::Reduction::Sum)
                   : torch::mse_loss(prediction, y, at::Reduction::Sum);
  });
  CHECK_THAT(rows.rows[0].at(Quantity::kTargetMean), about(y.mean().item<double>()));
  CHECK_THAT(rows.rows[0].at(Quantity::kTargetStd), Catch::Matchers::WithinRel(y.std(false).item<double>(), 1e-5));
  CHECK_THAT(rows.rows[0].at(Quantity::kTargetMin), about(y.min().item<double>()));
  CHECK(std::isnan(rows.rows[0].at(Quantity::kTargetClasses)));
  check_predictions(rows.rows[0], prediction);
  CHECK(events_of(rows, "loss-operator") ==
        Texts{"2: op=mse_loss prediction=16x2:float32 target=16x2:float32 reduction=sum"});
}

TEST_CASE("the activation function that the prediction left is named, through views", "[hooks][loss-operator]") {
  nn::Sequential model = net(3, 1);
  const torch::Tensor x = torch::randn({8, 3});
  const torch::Tensor y = torch::ones({8});
  SECTION("sigmoid") {
    const Rows rows = record_steps(*model, 1, [&](int) {
      return torch::binary_cross_entropy(torch::sigmoid(model->forward(x)).squeeze(1).clamp(1e-6, 1 - 1e-6), y);
    });
    CHECK(events_of(rows, "loss-operator") ==
          Texts{"2:clamp: op=binary_cross_entropy prediction=8:float32 target=8:float32 reduction=mean "
                "produced_by=sigmoid"});
  }
  SECTION("none") {
    const Rows rows = record_steps(*model, 1, [&](int) {
      return torch::binary_cross_entropy_with_logits(torch::tanh(model->forward(x)).squeeze(1) * 5, y);
    });
    CHECK(events_of(rows, "loss-operator") ==
          Texts{": op=binary_cross_entropy_with_logits prediction=8:float32 target=8:float32 reduction=mean"});
  }
}

TEST_CASE("a smaller last batch is no other loss", "[hooks][loss-operator]") {
  nn::Sequential model = net(3, 2);
  const Rows rows = record_steps(*model, 3, [&](int step) {
    const std::int64_t n = step == 2 ? 3 : 8;
    return torch::mse_loss(model->forward(torch::randn({n, 3})), torch::randn({n, 2}));
  });
  CHECK(events_of(rows, "loss-operator").size() == 1);
}

TEST_CASE("micro-batches are one set of targets and predictions", "[hooks][loss-operator]") {
  nn::Sequential model = net(3, 2);
  const torch::Tensor x = torch::randn({12, 3});
  const torch::Tensor y = torch::randn({12, 2});
  const torch::Tensor prediction = model->forward(x).detach();
  const Rows rows = record_steps(*model, 1, [&](int) {
    torch::mse_loss(model->forward(x.slice(0, 0, 4)), y.slice(0, 0, 4)).backward();
    return torch::mse_loss(model->forward(x.slice(0, 4)), y.slice(0, 4));
  });
  CHECK_THAT(rows.rows[0].at(Quantity::kTargetMean), about(y.mean().item<double>()));
  check_predictions(rows.rows[0], prediction);
}

TEST_CASE("a forward pass that is not differentiated has no targets", "[hooks][loss-operator]") {
  nn::Sequential model = net(3, 2);
  const torch::Tensor y = torch::randn({8, 2});
  const Rows rows = record_steps(*model, 1, [&](int) {
    torch::mse_loss(model->forward(torch::randn({8, 3})), y + 1000);
    return torch::mse_loss(model->forward(torch::randn({8, 3})), y);
  });
  CHECK_THAT(rows.rows[0].at(Quantity::kTargetMean), about(y.mean().item<double>()));
}

TEST_CASE("a loss written by hand is found by its difference", "[hooks][loss-operator]") {
  nn::Sequential model = net(3, 2);
  const torch::Tensor x = torch::randn({8, 3});
  const torch::Tensor y = torch::randn({8, 2}) + 5;
  torch::Tensor prediction;
  SECTION("squared") {
    const Rows rows = record_steps(*model, 1, [&](int) {
      prediction = model->forward(x);
      return (prediction - y).pow(2).mean();
    });
    CHECK_THAT(rows.rows[0].at(Quantity::kTargetMean), about(y.mean().item<double>()));
    check_predictions(rows.rows[0], prediction);
    CHECK(events_of(rows, "loss-operator") == Texts{"2: op=sub prediction=8x2:float32 target=8x2:float32"});
  }
  SECTION("but not where the model goes on") {
    nn::Linear head(2, 1);
    model->push_back(head);
    const Rows rows = record_steps(*model, 1, [&](int) {
      return head(model[2]->as<nn::Linear>()->forward(torch::relu(model[0]->as<nn::Linear>()->forward(x))) - y).mean();
    });
    CHECK(events_of(rows, "loss-operator").empty());
    CHECK(std::isnan(rows.rows[0].at(Quantity::kTargetMean)));
  }
  SECTION("nor beside a named one") {
    const Rows rows = record_steps(*model, 2, [&](int) {
      prediction = model->forward(x);
      return (prediction - y * 9).abs().mean() + torch::mse_loss(prediction, y);
    });
    CHECK(events_of(rows, "loss-operator") ==
          Texts{"2: op=mse_loss prediction=8x2:float32 target=8x2:float32 reduction=mean"});
    CHECK_THAT(rows.rows[1].at(Quantity::kTargetMean), about(y.mean().item<double>()));
  }
}

TEST_CASE("what the trainer says the target and the input are counts", "[hooks][loss-operator]") {
  TemporaryDirectory directory;
  nn::Sequential model = net(3, 2);
  const torch::Tensor raw = torch::randn({8, 3}) * 4 + 50;
  const torch::Tensor y = torch::randint(2, {8});
  Monitor monitor(*model, directory / "run.h5", every_step());
  monitor.input(raw);
  const torch::Tensor output = model->forward((raw - 50) / 4);
  monitor.target(y);
  const torch::Tensor loss = -torch::log_softmax(output, 1).gather(1, y.unsqueeze(1)).mean();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  REQUIRE(monitor.status().error.empty());
  const Rows rows(directory / "run.h5");
  const double ones = y.sum().item<double>();
  CHECK_THAT(rows.rows[0].at(Quantity::kTargetBatchEntropy), about(entropy({8 - ones, ones})));
  CHECK_THAT(rows.at(0, Quantity::kInputMean, "feature 1"),
             Catch::Matchers::WithinRel(raw.select(1, 1).mean().item<double>(), 1e-5));
  CHECK(rows.rows[0].at(Quantity::kBatchSize) == 8);
}

TEST_CASE("a prediction on a device is named, not read", "[hooks][loss-operator]") {
  const hooks::PretendedDevice device(1);
  nn::Sequential model = net(3, 2);
  const Rows rows = record_steps(*model, 2, [&](int) {
    return torch::mse_loss(model->forward(torch::randn({8, 3})), torch::randn({8, 2}));
  });
  CHECK(events_of(rows, "loss-operator").size() == 1);
  CHECK(std::isnan(rows.rows[0].at(Quantity::kPredictionMean)));
  CHECK(std::isnan(rows.rows[0].at(Quantity::kTargetMean)));
}
