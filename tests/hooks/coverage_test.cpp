// Walks all kinds of models: what is recorded, under which names, and that every number is autograd's.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <sstream>

#include <ATen/record_function.h>
#include <torch/torch.h>

#include "hooks/coverage_cases.h"
#include "hooks/models.h"
#include "support/catch.h"

namespace gradhealth::test {
namespace {

/// Gradients are the same tensors in both passes, up to the order of float sums in the pass by hand.
constexpr double kTolerance = 1e-5;

std::vector<CoverageCase> all_cases() {
  std::vector<CoverageCase> all;
  for (const auto& cases : {layer_cases(), recurrent_cases(), attention_cases(), composition_cases(), special_cases()})
    all.insert(all.end(), cases.begin(), cases.end());
  return all;
}

NamedTensors parameters_of(const Walk& walk) {
  NamedTensors parameters = walk.tensors;
  if (walk.module)
    for (const auto& item : walk.module->named_parameters()) parameters.emplace_back(item.key(), item.value());
  return parameters;
}

double norm_of(const torch::Tensor& tensor) {
  return (tensor.is_sparse() ? tensor.to_dense() : tensor).to(torch::kFloat64).norm().item<double>();
}

double rms_of(const torch::Tensor& tensor) {
  return norm_of(tensor.detach()) / std::sqrt(static_cast<double>(tensor.numel()));
}

/// What is missing must be missing, not zero.
void check_norm(double recorded, const torch::Tensor& gradient) {
  if (!gradient.defined()) {
    CHECK(std::isnan(recorded));
    return;
  }
  const double expected = norm_of(gradient);
  CHECK(std::fabs(recorded - expected) <= kTolerance * expected);
}

/// The run's name of a parameter, which may have several.
std::string subject_of(const Rows& run, const std::string& parameter) {
  for (const std::string& name : run.names(Axis::kParameter)) {
    std::istringstream parts(name);
    for (std::string part; std::getline(parts, part, '|');)
      if (part == parameter) return name;
  }
  return parameter;
}

struct Expected {
  ByHand pass;
  std::vector<torch::Tensor> activation_gradients;
  NamedTensors parameter_gradients;
};

Expected expected_of(const Walk& walk) {
  const at::DisableRecordFunctionGuard unseen;
  Expected expected;
  expected.pass = walk.by_hand();
  std::vector<torch::Tensor> inputs;
  NamedTensors parameters = parameters_of(walk);
  for (const Reference& reference : expected.pass.activations)
    if (reference.activation.requires_grad()) inputs.push_back(reference.activation);
  for (const auto& parameter : parameters)
    if (parameter.second.requires_grad()) inputs.push_back(parameter.second);
  const auto gradients = torch::autograd::grad({expected.pass.loss}, inputs, {}, {}, false, true);
  auto next = gradients.begin();
  for (const Reference& reference : expected.pass.activations)
    expected.activation_gradients.push_back(reference.activation.requires_grad() ? *next++ : torch::Tensor());
  for (const auto& [name, tensor] : parameters)
    expected.parameter_gradients.emplace_back(name, tensor.requires_grad() ? *next++ : torch::Tensor());
  return expected;
}

Monitor attach(const Walk& walk, const std::filesystem::path& path) {
  return walk.module ? Monitor(*walk.module, path, every_step()) : Monitor(walk.tensors, path, every_step());
}

void check_walk(const Walk& walk) {
  TemporaryDirectory directory;
  Monitor monitor = attach(walk, directory / "run.h5");
  if (walk.after_attaching) walk.after_attaching();
  const Expected expected = expected_of(walk);
  const torch::Tensor loss = walk.forward();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  REQUIRE(monitor.status().error.empty());

  const Rows run(directory / "run.h5");
  std::vector<std::string> names;
  for (const Reference& reference : expected.pass.activations) names.push_back(reference.name);
  REQUIRE(run.names(Axis::kActivation) == names);
  for (std::size_t i = 0; i < names.size(); ++i) {
    CAPTURE(names[i]);
    const torch::Tensor& activation = expected.pass.activations[i].activation;
    const double rms = rms_of(activation);
    CHECK(std::fabs(run.at(0, Quantity::kActivationRms, names[i]) - rms) <= kTolerance * rms);
    check_norm(run.at(0, Quantity::kActivationGradientNorm, names[i]), expected.activation_gradients[i]);
  }
  for (const auto& [name, gradient] : expected.parameter_gradients) {
    CAPTURE(name);
    check_norm(run.at(0, Quantity::kGradientNorm, subject_of(run, name)), gradient);
  }
}

std::ptrdiff_t defined_among(const std::vector<torch::Tensor>& gradients) {
  return std::count_if(gradients.begin(), gradients.end(), [](const torch::Tensor& each) { return each.defined(); });
}

/// README's table: what the walk checks.
std::string coverage_table() {
  std::ostringstream table;
  table << "| model | activations recorded | ∂L/∂a | ∂L/∂W | |\n| --- | --- | --- | --- | --- |\n";
  for (const CoverageCase& each : all_cases()) {
    const Walk walk = each.make();
    if (walk.after_attaching) walk.after_attaching();
    const Expected expected = expected_of(walk);
    table << "| " << each.kind << " | ";
    std::string separator;
    for (const Reference& reference : expected.pass.activations) {
      table << separator << "`" << reference.name << "`";
      separator = ", ";
    }
    std::vector<torch::Tensor> of_parameters;
    for (const auto& gradient : expected.parameter_gradients) of_parameters.push_back(gradient.second);
    table << " | " << defined_among(expected.activation_gradients) << " of " << expected.pass.activations.size()
          << " | " << defined_among(of_parameters) << " of " << of_parameters.size() << " | " << each.remarks << " |\n";
  }
  return table.str();
}

}  // namespace

torch::Tensor loss_of(const torch::Tensor& output) { return (output.to(torch::kFloat64) + 0.3).pow(2).mean(); }

std::shared_ptr<torch::nn::Module> root_of(const Children& children) {
  auto root = std::make_shared<torch::nn::Module>();
  for (const auto& [name, child] : children) root->register_module(name, child);
  return root;
}

Walk walk_of(const Children& children, const std::function<ByHand()>& by_hand) {
  return {root_of(children), {}, [by_hand] { return by_hand().loss; }, by_hand, {}, {}};
}

Walk side_by_side(const std::vector<Part>& parts) {
  Children children;
  for (const Part& part : parts) children.emplace_back(part.name, part.module);
  return walk_of(children, [parts] {
    ByHand pass;
    pass.loss = torch::zeros({}, torch::kFloat64);
    for (const Part& part : parts) {
      pass.activations.push_back({part.name, part.output()});
      pass.loss = pass.loss + loss_of(pass.activations.back().activation);
    }
    return pass;
  });
}

TEST_CASE("every kind of model is recorded under its names, with autograd's gradients", "[hooks]") {
  for (const CoverageCase& each : all_cases()) {
    torch::manual_seed(21);
    DYNAMIC_SECTION(each.kind) { check_walk(each.make()); }
  }
}

TEST_CASE("the README's table of coverage is what the walk has checked", "[hooks]") {
  std::ifstream file(std::string(GRADHEALTH_SOURCE_DIR) + "/README.md");
  const std::string readme((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::string begin = "<!-- coverage -->\n";
  const auto from = readme.find(begin);
  const auto to = readme.find("<!-- /coverage -->");
  REQUIRE(from != std::string::npos);
  REQUIRE(to != std::string::npos);
  CHECK(readme.substr(from + begin.size(), to - from - begin.size()) == coverage_table());
}

}  // namespace gradhealth::test
