// Steps whose numbers a device still owes: the same rows as without one, only later. The device is pretended.
#include <cmath>
#include <functional>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/statistics/reading.h"
#include "hooks/torch_compat.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Axis;
using gradhealth::kQuantityCount;
using gradhealth::Monitor;
using gradhealth::MonitorOptions;
using gradhealth::MonitorState;
using gradhealth::Quantity;
using gradhealth::hooks::PretendedDevice;

namespace {

constexpr int kSteps = 25;

struct Outcome {
  std::vector<torch::Tensor> state;  ///< Parameters, buffers, and what the generator gives next.
  gradhealth::MonitorStatus status;
};

/// Two micro-batches a step, evaluation in between, an embedding whose update no sample sees, a frozen layer.
Outcome train(const std::filesystem::path& path, torch::ScalarType type = torch::kFloat32,
              const MonitorOptions& options = every_step()) {
  torch::manual_seed(41);
  ConvNet net;
  net->dropout = 0.2;
  torch::nn::Embedding embedding(3000, 4);
  torch::nn::Sequential model(net);
  model->push_back("embedding", embedding);
  model->to(type);
  net->fc1->weight.set_requires_grad(false);
  torch::optim::SGD optimizer(model->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
  Outcome outcome;
  {
    Monitor monitor(*model, optimizer, path, options);
    for (int step = 0; step < kSteps; ++step) {
      optimizer.zero_grad();
      torch::Tensor loss;
      for (int batch = 0; batch < 2; ++batch) {
        const torch::Tensor code = embedding(torch::randint(50, 53, {8})).sum(1);
        loss = torch::cross_entropy_loss(net->forward(torch::randn({8, 1, 8, 8}, type)), torch::randint(3, {8})) +
               code.pow(2).mean();
        loss.backward();
      }
      monitor.step(loss);
      monitor.record("step", step);
      if (step % 10 != 9) optimizer.step();  // Skipped now and then, as a loss scaler does.
      const torch::NoGradGuard no_grad;
      net->forward(torch::randn({2, 1, 8, 8}, type));
    }
    monitor.close();
    outcome.status = monitor.status();
  }
  outcome.state = model->parameters();
  for (const torch::Tensor& buffer : model->buffers()) outcome.state.push_back(buffer);
  outcome.state.push_back(torch::randn({4}));
  return outcome;
}

void check_identical(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(torch::equal(a[i], b[i]));
}

bool close(Quantity quantity, double value, double reference) {
  if (std::isnan(value) || std::isnan(reference)) return std::isnan(value) && std::isnan(reference);
  // In a mean, values of about 1 cancel, and the CPU's kernel sums floats in float, block by block.
  const double absolute = quantity == Quantity::kActivationMean ? 1e-7 : 1e-9;
  return value == reference || std::fabs(value - reference) <= 1e-5 * std::fabs(reference) + absolute;
}

/// Would have to be waited for.
bool is_missing_of_a_device(Quantity quantity) {
  switch (quantity) {
    case Quantity::kTargetMean:
    case Quantity::kTargetStd:
    case Quantity::kTargetMin:
    case Quantity::kTargetMax:
    case Quantity::kPredictionMean:
    case Quantity::kPredictionStd:
    case Quantity::kPredictionMin:
    case Quantity::kPredictionMax:
    case Quantity::kPredictionSpread:
    case Quantity::kCarriedGradients:
    case Quantity::kUpdateGradientCosine:
    case Quantity::kGradientAlignment:
    case Quantity::kBuffersNonfinite:
    case Quantity::kOptimizerStateNonfinite:
    case Quantity::kUnchangedFraction:
    case Quantity::kRowSpread:
    case Quantity::kActivationSaturatedFraction:
    case Quantity::kActivationLogitStd:
    case Quantity::kRunningStatisticsGap: return true;
    default: return false;
  }
}

/// Every number of every row, but the time it took.
void check_same_rows(const Rows& run, const Rows& reference) {
  for (const Axis axis : {Axis::kNamed, Axis::kParameter, Axis::kActivation, Axis::kFeature, Axis::kInputBin})
    REQUIRE(run.names(axis) == reference.names(axis));
  REQUIRE(run.rows.size() == reference.rows.size());
  std::size_t compared = 0;
  for (std::size_t row = 0; row < run.rows.size(); ++row) {
    REQUIRE(run.rows[row].step == reference.rows[row].step);
    for (std::size_t q = 0; q < kQuantityCount; ++q) {
      const auto quantity = static_cast<Quantity>(q);
      if (quantity == Quantity::kStepTime) continue;
      const std::size_t subjects =
          std::max(run.rows[row].values(quantity).size(), reference.rows[row].values(quantity).size());
      for (std::size_t subject = 0; subject < subjects; ++subject) {
        ++compared;
        if (is_missing_of_a_device(quantity) && std::isnan(run.rows[row].at(quantity, subject))) continue;
        if (close(quantity, run.rows[row].at(quantity, subject), reference.rows[row].at(quantity, subject))) continue;
        CAPTURE(row, info(quantity).name, subject);
        CHECK(run.rows[row].at(quantity, subject) == reference.rows[row].at(quantity, subject));
      }
    }
  }
  CHECK(compared > 1000);
}

}  // namespace

TEST_CASE("rows that wait for a device are the same rows, in order, and none is lost", "[hooks]") {
  TemporaryDirectory directory;
  const Outcome reference = train(directory / "cpu.h5");
  const Rows rows(directory / "cpu.h5");
  REQUIRE(rows.rows.size() == kSteps);
  for (const int polls : {0, 1, 2}) {
    CAPTURE(polls);
    const std::filesystem::path path = directory / ("device-" + std::to_string(polls) + ".h5");
    const PretendedDevice device(polls);
    const Outcome outcome = train(path);
    CHECK(outcome.status.error.empty());
    CHECK(outcome.status.dropped_steps == 0);
    check_identical(outcome.state, reference.state);
    check_same_rows(Rows(path), rows);
  }
}

TEST_CASE("double precision on a device is read as on the CPU", "[hooks]") {
  TemporaryDirectory directory;
  const Outcome reference = train(directory / "cpu.h5", torch::kFloat64);
  const PretendedDevice device(1);
  check_identical(train(directory / "device.h5", torch::kFloat64).state, reference.state);
  check_same_rows(Rows(directory / "device.h5"), Rows(directory / "cpu.h5"));
}

TEST_CASE("steps are left out, and counted, rather than waited for", "[hooks]") {
  TemporaryDirectory directory;
  const Outcome reference = train(directory / "cpu.h5");
  const PretendedDevice device(20);
  const Outcome outcome = train(directory / "device.h5");
  check_identical(outcome.state, reference.state);
  const Rows run(directory / "device.h5");
  REQUIRE(outcome.status.dropped_steps > 0);
  const Rows complete(directory / "cpu.h5");
  std::int64_t previous = -1;
  std::int64_t with_weights = 0;
  for (std::size_t row = 0; row < run.rows.size(); ++row) {
    CHECK(run.rows[row].step > previous);
    previous = run.rows[row].step;
    const double norm = run.rows[row].at(Quantity::kGlobalGradientNorm);
    if (std::isnan(norm)) continue;
    ++with_weights;
    CHECK(close(Quantity::kGlobalGradientNorm, norm,
                complete.rows[static_cast<std::size_t>(previous)].at(Quantity::kGlobalGradientNorm)));
  }
  CHECK(with_weights + outcome.status.dropped_steps == kSteps);
}

TEST_CASE("a row waits for its device longer than for its update", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Linear linear(3, 1);
  Monitor monitor(*linear, directory / "run.h5", every_step());
  const PretendedDevice device(3);
  const auto step = [&] {
    const torch::Tensor loss = linear->forward(torch::ones({2, 3})).sum();
    loss.backward();
    monitor.step(loss);
  };
  step();
  step();
  CHECK(monitor.status().recorded_steps == 0);
  for (int i = 0; i < 10; ++i) step();
  CHECK(monitor.status().recorded_steps > 0);
  CHECK(monitor.status().recorded_steps < 11);
  monitor.close();
  CHECK(monitor.status().recorded_steps == 12);
}

TEST_CASE("steps that wait for a device keep no graph alive", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net(torch::nn::Linear(3, 4), torch::nn::ReLU(), torch::nn::Linear(4, 1));
  const PretendedDevice device(1000);
  Monitor monitor(*net, directory / "run.h5", every_step());
  gradhealth::hooks::WeakNode node;
  {
    const torch::Tensor loss = net->forward(torch::ones({2, 3})).sum();
    node = loss.grad_fn();
    loss.backward();
    monitor.step(loss);
  }
  CHECK(node.expired());
}

TEST_CASE("second derivatives are taken of the model alone, not of what is read of it", "[hooks]") {
  TemporaryDirectory directory;
  const auto second_derivative = [] {
    torch::manual_seed(42);
    torch::nn::Sequential net(torch::nn::Linear(3, 4), torch::nn::Tanh(), torch::nn::Linear(4, 1));
    const torch::Tensor x = torch::randn({2, 3}, torch::requires_grad());
    return std::make_pair(net, x);
  };
  const auto penalty = [](torch::nn::Sequential& net, const torch::Tensor& x) {
    const torch::Tensor y = net->forward(x).sum();
    const torch::Tensor gradient = torch::autograd::grad({y}, {x}, {}, true, true)[0];
    gradient.pow(2).sum().backward();
    return net->parameters()[0].grad().clone();
  };
  auto [bare, bare_input] = second_derivative();
  const torch::Tensor reference = penalty(bare, bare_input);
  auto [net, input] = second_derivative();
  const PretendedDevice device(0);
  Monitor monitor(*net, directory / "run.h5", every_step());
  CHECK(torch::equal(penalty(net, input), reference));
  monitor.step(torch::zeros({}));
  CHECK(monitor.status().error.empty());
}

TEST_CASE("a device's loss that stops being a number between recorded steps is recorded, one look later", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Linear linear(3, 1);
  MonitorOptions options;
  options.messages = gradhealth::Messages::kNone;
  options.budget = 0;
  const PretendedDevice device(1);
  Monitor monitor(*linear, directory / "run.h5", options);
  for (int step = 0; step < 39; ++step) {
    linear->zero_grad();
    const torch::Tensor loss = linear->forward(torch::full({2, 3}, step == 33 ? std::nanf("") : 1.0f)).sum();
    loss.backward();
    monitor.step(loss);
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  std::vector<std::int64_t> steps;
  for (const auto& row : run.rows)
    if (row.step > 20) steps.push_back(row.step);
  REQUIRE(steps.size() >= 4);
  CHECK(steps[0] == 30);
  CHECK(steps[1] == 33);
  CHECK(steps[2] <= 36);  // A suspicion raises the rate as soon as it is known.
  CHECK(steps.back() == 38);
  for (const auto& row : run.rows) CHECK(row.at(Quantity::kLossNonfinite) == (row.step == 33 ? 1 : 0));
}

TEST_CASE("values recorded by name are kept while steps wait for a device", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Linear linear(3, 1);
  MonitorOptions options = every_step();
  options.every = 10;
  const PretendedDevice device(1);
  Monitor monitor(*linear, directory / "run.h5", options);
  for (int step = 0; step < 15; ++step) {
    if (step == 5) monitor.record("accuracy", 0.5);
    const torch::Tensor loss = linear->forward(torch::ones({2, 3})).sum();
    loss.backward();
    monitor.step(loss);
  }
  monitor.record("accuracy", 0.75);
  monitor.close();
  const Rows run(directory / "run.h5");
  std::vector<std::int64_t> steps;
  for (const auto& row : run.rows) steps.push_back(row.step);
  REQUIRE(steps == std::vector<std::int64_t>{0, 5, 10, 15});
  CHECK(run.at(1, Quantity::kNamedValue, "accuracy") == 0.5);
  CHECK(run.at(3, Quantity::kNamedValue, "accuracy") == 0.75);
  CHECK(std::isnan(run.at(2, Quantity::kNamedValue, "accuracy")));
}

TEST_CASE("a callback on a finding may close the monitor", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Linear linear(3, 1);
  std::optional<PretendedDevice> device;
  for (const bool pretended : {false, true}) {
    CAPTURE(pretended);
    if (pretended) device.emplace(1);
    const std::filesystem::path path = directory / (pretended ? "device.h5" : "cpu.h5");
    Monitor monitor(*linear, path, every_step());
    int closed = 0;
    monitor.on_finding([&](const gradhealth::Finding&) {
      ++closed;
      monitor.close();
    });
    for (int step = 0; step < 40; ++step) {
      const torch::Tensor loss = linear->forward(torch::full({2, 3}, step > 5 ? std::nanf("") : 1.0f)).sum();
      loss.backward();
      monitor.step(loss);
    }
    CHECK(closed >= 1);
    CHECK(monitor.status().state == MonitorState::kClosed);
    std::int64_t previous = -1;
    for (const auto& row : Rows(path).rows) {
      CHECK(row.step > previous);
      previous = row.step;
    }
  }
}

TEST_CASE("a gradient on a device that stops being a number is noticed between recorded steps", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Linear linear(torch::nn::LinearOptions(3, 1).bias(false));
  MonitorOptions options;
  options.messages = gradhealth::Messages::kNone;
  options.budget = 0;
  const PretendedDevice device(0);
  Monitor monitor(*linear, directory / "run.h5", options);
  for (int step = 0; step < 28; ++step) {
    linear->zero_grad();
    const torch::Tensor loss = linear->forward(torch::ones({2, 3})).sum();
    loss.backward();
    if (step == 24) linear->weight.mutable_grad()[0][1] = std::nanf("");
    monitor.step(loss);
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  REQUIRE(run.rows.size() > 22);
  CHECK(run.rows[21].step == 24);
  CHECK(run.rows[22].step <= 26);
}

TEST_CASE("a model on a device that is not known disables the monitor, which says why", "[hooks]") {
  TemporaryDirectory directory;
  const torch::Tensor weight = torch::empty({3, 2}, torch::TensorOptions().device(torch::kMeta).requires_grad(true));
  Monitor monitor({{"weight", weight}}, directory / "run.h5", every_step());
  CHECK(monitor.status().state == MonitorState::kDisabled);
  CHECK(monitor.status().error.find("meta") != std::string::npos);
  monitor.step(torch::zeros({}));
  monitor.close();
}

TEST_CASE("a model that moves to another device after attaching is recorded there", "[hooks]") {
  TemporaryDirectory directory;
  torch::manual_seed(43);
  torch::nn::Linear linear(3, 2);
  Monitor monitor(*linear, directory / "run.h5", every_step());
  torch::optim::SGD optimizer(linear->parameters(), torch::optim::SGDOptions(0.1));
  const torch::Tensor input = torch::randn({4, 3});
  const auto step = [&] {
    optimizer.zero_grad();
    const torch::Tensor loss = linear->forward(input).pow(2).sum();
    loss.backward();
    monitor.step(loss);
    optimizer.step();
  };
  step();
  {
    const PretendedDevice device(1);
    step();
    step();
  }
  step();
  monitor.close();
  CHECK(monitor.status().error.empty());
  const Rows run(directory / "run.h5");
  REQUIRE(run.rows.size() == 4);
  for (std::size_t row = 0; row < 4; ++row) {
    CHECK(run.at(row, Quantity::kGradientNorm, "weight") > 0);
    CHECK(run.at(row, Quantity::kActivationRms, "weight") > 0);
    CHECK(run.at(row, Quantity::kWeightNorm, "weight") > 0);
  }
  // Between two devices there is no telling what the update did.
  CHECK(std::isnan(run.at(0, Quantity::kUpdateRatio, "weight")));
  CHECK(run.at(1, Quantity::kUpdateRatio, "weight") > 0);
}
