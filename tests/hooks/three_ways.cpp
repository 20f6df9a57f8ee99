#include "hooks/three_ways.h"

#include <cmath>

#include "support/catch.h"

namespace gradhealth::test {
namespace {

bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

void check_same_rows(const Rows& a, const Rows& b) {
  for (const Axis axis : {Axis::kParameter, Axis::kActivation, Axis::kFeature, Axis::kInputBin})
    CHECK(a.names(axis) == b.names(axis));
  REQUIRE(a.rows.size() == b.rows.size());
  for (std::size_t row = 0; row < a.rows.size(); ++row) {
    CHECK(a.rows[row].step == b.rows[row].step);
    for (const QuantityInfo& quantity : quantities()) {
      if (quantity.id == Quantity::kStepTime) continue;
      // The update that ends a step has made the optimizer's state before it writes to the first parameter.
      if (quantity.id == Quantity::kOptimizerStateNonfinite) continue;
      const std::size_t subjects = quantity.axis == Axis::kRun ? 1 : a.run.of(quantity.axis).size();
      for (std::size_t i = 0; i < subjects; ++i) {
        if (same(a.rows[row].at(quantity.id, i), b.rows[row].at(quantity.id, i))) continue;
        FAIL_CHECK("row " << row << ", " << quantity.name << " of subject " << i << ": "
                          << a.rows[row].at(quantity.id, i) << " explicitly, " << b.rows[row].at(quantity.id, i)
                          << " automatically");
      }
    }
  }
}

}  // namespace

Monitors::Monitors(Way way, std::filesystem::path directory) : way_(way), directory_(std::move(directory)) {}

void Monitors::watch(torch::nn::Module& model, torch::optim::Optimizer& optimizer, const std::string& name) {
  models_.push_back(model.parameters());
  names_.push_back(name);
  if (way_ == Way::kBare) return monitors_.push_back(std::nullopt);
  MonitorOptions options = every_step();
  options.name = name;
  if (way_ == Way::kAutomatic) options.step = StepMode::kAutomatic;
  monitors_.emplace_back(std::in_place, model, optimizer, directory_, options);
}

void Monitors::step(const torch::Tensor& loss, std::size_t model) {
  if (way_ == Way::kExplicit) monitors_[model]->step(loss);
}

void Monitors::close() {
  for (auto& monitor : monitors_) {
    if (!monitor) continue;
    monitor->close();
    CHECK(monitor->status().error.empty());
  }
}

Rows Monitors::rows(std::size_t model) const { return Rows(directory_ / (names_[model] + ".h5")); }

Rows check_three_ways(const Trainer& train, std::size_t steps, std::size_t models) {
  TemporaryDirectory explicit_directory, automatic_directory, bare_directory;
  Monitors bare(Way::kBare, bare_directory.path());
  Monitors by_call(Way::kExplicit, explicit_directory.path());
  Monitors by_itself(Way::kAutomatic, automatic_directory.path());
  for (Monitors* monitors : {&bare, &by_call, &by_itself}) {
    torch::manual_seed(21);
    train(*monitors);
    monitors->close();
  }
  for (std::size_t model = 0; model < models; ++model) {
    for (std::size_t i = 0; i < bare.weights()[model].size(); ++i) {
      CHECK(torch::equal(bare.weights()[model][i], by_call.weights()[model][i]));
      CHECK(torch::equal(bare.weights()[model][i], by_itself.weights()[model][i]));
    }
    check_same_rows(by_call.rows(model), by_itself.rows(model));
    CHECK(by_itself.rows(model).rows.size() == steps);
  }
  return by_itself.rows();
}

std::vector<std::string> doubts(const Rows& run) {
  std::vector<std::string> texts;
  for (const StepRecord& row : run.rows)
    for (const Event& event : row.events)
      if (event.kind == "automatic-step") texts.push_back(event.text);
  return texts;
}

torch::nn::Sequential small_net() {
  return torch::nn::Sequential(torch::nn::Linear(6, 8), torch::nn::Tanh(), torch::nn::Linear(8, 3));
}

torch::Tensor small_loss(torch::nn::Sequential& net) {
  return torch::cross_entropy_loss(net->forward(torch::randn({10, 6})), torch::randint(3, {10}));
}

void set_to_none(torch::nn::Module& module) {
  for (torch::Tensor& parameter : module.parameters()) parameter.mutable_grad().reset();
}

}  // namespace gradhealth::test
