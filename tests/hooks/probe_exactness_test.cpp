#include <cmath>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/probes/curvature_probe.h"
#include "hooks/probes/jacobian_probe.h"
#include "hooks/probes/lanczos.h"
#include "hooks/probes/nonlinearity.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Axis;
using gradhealth::Monitor;
using gradhealth::ProbeOptions;
using gradhealth::Quantity;
using gradhealth::hooks::pull_back;
using torch::Tensor;
using torch::autograd::Edge;

namespace {

bool close(double value, double reference, double tolerance) {
  return std::fabs(value - reference) <= tolerance * std::fabs(reference);
}

Edge edge_of(const Tensor& tensor) { return torch::autograd::impl::gradient_edge(tensor); }

/// d output / d input over the whole batch, row by row: [output.numel() × input.numel()].
Tensor exact_jacobian(const Tensor& output, const Tensor& input) {
  std::vector<Tensor> rows;
  for (std::int64_t i = 0; i < output.numel(); ++i) {
    Tensor unit = torch::zeros({output.numel()}, output.options());
    unit[i] = 1;
    const Tensor row = torch::autograd::grad({output}, {input}, {unit.view(output.sizes())}, true)[0];
    rows.push_back(row.reshape({-1}).clone());
  }
  return torch::stack(rows);
}

/// A unit vector for every value of a sample, for all samples at once.
std::vector<Tensor> unit_cotangents(const Tensor& output) {
  std::vector<Tensor> units;
  for (std::int64_t k = 0; k < output.size(1); ++k) {
    Tensor unit = torch::zeros(output.sizes(), output.options());
    unit.select(1, k).fill_(1);
    units.push_back(unit);
  }
  return units;
}

struct TanhNetImpl : torch::nn::Module {
  torch::nn::Linear fc1{5, 9};
  torch::nn::Linear fc2{9, 7};
  torch::nn::Linear fc3{7, 3};

  TanhNetImpl() {
    register_module("fc1", fc1);
    register_module("fc2", fc2);
    register_module("fc3", fc3);
    to(torch::kFloat64);
  }

  Tensor forward(const Tensor& x) { return fc3(torch::tanh(fc2(torch::tanh(fc1(x))))); }
};
TORCH_MODULE(TanhNet);

const std::vector<std::string> kTanhNetActivations{"fc1", "fc1:tanh", "fc2", "fc2:tanh", "fc3"};

/// The activations in the order of their names, computed again.
std::vector<Tensor> activations(TanhNet& net, const Tensor& x) {
  std::vector<Tensor> values{net->fc1(x)};
  values.push_back(torch::tanh(values.back()));
  values.push_back(net->fc2(values.back()));
  values.push_back(torch::tanh(values.back()));
  values.push_back(net->fc3(values.back()));
  return values;
}

}  // namespace

TEST_CASE("cotangents pulled back from all unit vectors give the exact Jacobian norm, in-place operators or not",
          "[hooks][probe]") {
  torch::manual_seed(11);
  torch::nn::Linear fc1(4, 6), fc2(6, 3);
  fc1->to(torch::kFloat64);
  fc2->to(torch::kFloat64);
  const Tensor x = torch::randn({5, 4}, torch::kFloat64);
  const Tensor before = fc1(x);
  const Tensor hidden = torch::relu(before);
  const Tensor exact_before = exact_jacobian(fc2(hidden), before);
  const Tensor exact_hidden = exact_jacobian(fc2(hidden), hidden);

  Tensor overwritten = fc1(x);
  const Edge at_before = edge_of(overwritten);
  overwritten.relu_();
  const Edge at_hidden = edge_of(overwritten);
  const Tensor output = fc2(overwritten);
  double before_square = 0, hidden_square = 0;
  for (const Tensor& unit : unit_cotangents(output)) {
    const std::vector<Tensor> pulled = pull_back(edge_of(output), unit, {at_before, at_hidden});
    before_square += pulled[0].square().sum().item<double>();
    hidden_square += pulled[1].square().sum().item<double>();
  }
  // Samples do not interact, so the batch's Jacobian is block diagonal and the unit vectors find every element once.
  CHECK(close(before_square, exact_before.square().sum().item<double>(), 1e-12));
  CHECK(close(hidden_square, exact_hidden.square().sum().item<double>(), 1e-12));
  output.sum().backward();  // The graph is still there.
  CHECK(fc1->weight.grad().defined());
}

TEST_CASE("recorded Jacobian norms of a linear network with one output are exact up to one common factor",
          "[hooks][probe]") {
  torch::manual_seed(12);
  TemporaryDirectory directory;
  torch::nn::Sequential net(torch::nn::Linear(6, 8), torch::nn::Linear(8, 5), torch::nn::Linear(5, 1));
  net->to(torch::kFloat64);
  Monitor monitor(*net, directory / "run.h5", every_step());
  const Tensor x = torch::randn({16, 6}, torch::kFloat64);
  const Tensor loss = net->forward(x).square().mean();
  monitor.backward(loss);
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  const auto parameters = net->named_parameters();
  const Tensor at_second = parameters["2.weight"].detach();               // 1 × 5
  const Tensor at_first = at_second.mm(parameters["1.weight"].detach());  // 1 × 8
  // The cotangent is one number a sample: its own norm, recorded at the output, is the factor.
  const double factor = run.at(0, Quantity::kJacobianNorm, "2");
  CHECK(factor > 0.3);
  CHECK(factor < 2);
  CHECK(close(run.at(0, Quantity::kJacobianNorm, "1") / factor, at_second.norm().item<double>(), 1e-6));
  CHECK(close(run.at(0, Quantity::kJacobianNorm, "0") / factor, at_first.norm().item<double>(), 1e-6));
  const Tensor first = net[0]->as<torch::nn::Linear>()->forward(x).detach();
  const Tensor output = net->forward(x).detach();
  const double scale = factor * at_first.norm().item<double>() / std::sqrt(8.0) * first.norm().item<double>() /
                       output.norm().item<double>();
  CHECK(close(run.at(0, Quantity::kGradientScaleCoefficient, "0"), scale, 1e-6));
  CHECK(close(run.at(0, Quantity::kGradientScaleCoefficient, "2"), factor, 1e-6));
}

TEST_CASE("recorded Jacobian norms lie within the sampling error of the exact ones", "[hooks][probe]") {
  torch::manual_seed(13);
  TemporaryDirectory directory;
  TanhNet net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  const Tensor x = torch::randn({2000, 5}, torch::kFloat64);
  const Tensor loss = net->forward(x).square().mean();
  monitor.backward(loss);
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  const std::vector<Tensor> values = activations(net, x);
  for (std::size_t i = 0; i < values.size(); ++i) {
    CAPTURE(kTanhNetActivations[i]);
    double square = 0;
    for (const Tensor& unit : unit_cotangents(values.back()))
      square += torch::autograd::grad({values.back()}, {values[i]}, {unit}, true)[0].square().sum().item<double>();
    // Var(‖Jᵀu‖²) ≤ 2‖J‖⁴ a sample: the root of the mean over 2,000 has a relative standard error of at most 1.6 %.
    CHECK(close(run.at(0, Quantity::kJacobianNorm, kTanhNetActivations[i]), std::sqrt(square / 2000), 0.05));
  }
}

TEST_CASE("recorded singular values equal those of the exact Jacobian between activations", "[hooks][probe]") {
  torch::manual_seed(14);
  TemporaryDirectory directory;
  TanhNet net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  const Tensor x = torch::randn({4, 5}, torch::kFloat64);
  const Tensor loss = net->forward(x).square().mean();
  ProbeOptions options;
  options.singular_values = true;
  options.iterations = 30;
  monitor.backward(loss, options);
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  const std::vector<Tensor> values = activations(net, x);
  CHECK(std::isnan(run.at(0, Quantity::kSpectralNorm, "fc1")));
  for (std::size_t i = 1; i < values.size(); ++i) {
    CAPTURE(kTanhNetActivations[i]);
    const double exact = torch::linalg_svdvals(exact_jacobian(values[i], values[i - 1]))[0].item<double>();
    CHECK(close(run.at(0, Quantity::kSpectralNorm, kTanhNetActivations[i]), exact, 1e-3));
  }
}

TEST_CASE("singular values go through convolutions, pooling and batch normalisation", "[hooks][probe]") {
  torch::manual_seed(15);
  torch::nn::Conv2d conv(torch::nn::Conv2dOptions(2, 3, 3).padding(1));
  torch::nn::BatchNorm2d norm(3);
  conv->to(torch::kFloat64);
  norm->to(torch::kFloat64);
  const Tensor x = torch::randn({3, 2, 4, 4}, torch::kFloat64).requires_grad_();
  const Tensor input = x * 1;
  const Tensor output = torch::max_pool2d(torch::relu(norm(conv(input))), 2);
  const double exact = torch::linalg_svdvals(exact_jacobian(output, input))[0].item<double>();
  CHECK(close(gradhealth::hooks::largest_singular_value(edge_of(output), edge_of(input), 40, 1), exact, 1e-3));
  CHECK(std::isnan(gradhealth::hooks::largest_singular_value(edge_of(input), edge_of(output), 3, 1)));
}

TEST_CASE("recorded curvature is the largest eigenvalue of the exact Hessian", "[hooks][probe]") {
  torch::manual_seed(16);
  TemporaryDirectory directory;
  TanhNet net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  const Tensor x = torch::randn({12, 5}, torch::kFloat64);
  const Tensor target = torch::randint(3, {12});
  const Tensor loss = torch::cross_entropy_loss(net->forward(x), target);
  ProbeOptions options;
  options.curvature = true;
  options.iterations = 40;
  monitor.backward(loss, options);
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");

  const std::vector<Tensor> parameters = net->parameters();
  const std::vector<Tensor> gradients =
      torch::autograd::grad({torch::cross_entropy_loss(net->forward(x), target)}, parameters, {}, true, true);
  std::vector<Tensor> pieces;
  for (const Tensor& gradient : gradients) pieces.push_back(gradient.reshape({-1}));
  const Tensor flat = torch::cat(pieces);
  std::vector<Tensor> rows;
  for (std::int64_t i = 0; i < flat.size(0); ++i) {
    std::vector<Tensor> row;
    for (const Tensor& piece : torch::autograd::grad({flat[i]}, parameters, {}, true))
      row.push_back(piece.reshape({-1}));
    rows.push_back(torch::cat(row));
  }
  const Tensor hessian = torch::stack(rows);
  CHECK(close(run.rows[0].at(Quantity::kCurvature), torch::linalg_eigvalsh(hessian).max().item<double>(), 1e-3));
}

TEST_CASE("curvature keeps its sign where the largest eigenvalue is not the largest in size", "[hooks][probe]") {
  const Tensor w = torch::tensor({1.0, 2.0, 3.0}, torch::kFloat64).requires_grad_();
  const Tensor saddle = (torch::tensor({-5.0, 0.5, 0.25}, torch::kFloat64) * w.square()).sum();
  CHECK(close(*gradhealth::hooks::largest_curvature(saddle, {w}, 10, 1), 1, 1e-9));
  const Tensor peak = -w.square().sum();
  CHECK(close(*gradhealth::hooks::largest_curvature(peak, {w}, 10, 1), -2, 1e-9));
  CHECK(
      close(*gradhealth::hooks::largest_curvature(w.sum() * w.detach().sum() + 3 * w[0] * w[0], {w}, 10, 1), 6, 1e-9));
  const Tensor linear = w.sum();
  CHECK(*gradhealth::hooks::largest_curvature(linear, {w}, 10, 1) == 0);
  CHECK_FALSE(gradhealth::hooks::largest_curvature(linear, {torch::ones({2}).requires_grad_()}, 10, 1).has_value());
  CHECK_FALSE(w.grad().defined());
}

TEST_CASE("a tridiagonal matrix' largest eigenvalue is the closed form's", "[hooks][probe]") {
  using gradhealth::hooks::largest_tridiagonal_eigenvalue;
  CHECK(largest_tridiagonal_eigenvalue({-3}, {}) == -3);
  // Second differences of n points: 2 + 2 cos(π / (n + 1)).
  const std::vector<double> diagonal(9, 2), off_diagonal(8, -1);
  CHECK(close(largest_tridiagonal_eigenvalue(diagonal, off_diagonal), 2 + 2 * std::cos(M_PI / 10), 1e-12));
  CHECK(close(largest_tridiagonal_eigenvalue({-2, -5}, {0}), -2, 1e-12));
}

TEST_CASE("the nonlinearity coefficient of a linear map is one, and of a small network the definition's",
          "[hooks][probe]") {
  torch::manual_seed(17);
  const Tensor x = torch::randn({40, 4}, torch::kFloat64) * torch::tensor({1.0, 5.0, 0.2, 2.0}, torch::kFloat64) + 3;
  const Tensor w = torch::randn({3, 4}, torch::kFloat64);
  const Tensor f = x.mm(w.t());
  std::vector<Tensor> pulled;
  for (const Tensor& unit : unit_cotangents(f)) pulled.push_back(unit.mm(w));
  CHECK(close(gradhealth::hooks::nonlinearity_coefficient(x, f, pulled), 1, 1e-12));

  TanhNet net;
  const Tensor input = (2 * x).detach().requires_grad_();
  const Tensor padded = torch::cat({input, input.slice(1, 0, 1)}, 1);
  const Tensor output = net->forward(padded);
  std::vector<Tensor> rows;
  for (const Tensor& unit : unit_cotangents(output))
    rows.push_back(torch::autograd::grad({output}, {input}, {unit}, true)[0]);
  const Tensor centred = input.detach() - input.detach().mean(0);
  const Tensor covariance = centred.t().mm(centred) / 40;
  double trace = 0;
  for (std::int64_t i = 0; i < 40; ++i) {
    std::vector<Tensor> jacobian;
    for (const Tensor& row : rows) jacobian.push_back(row[i]);
    const Tensor j = torch::stack(jacobian);
    trace += j.mm(covariance).mm(j.t()).trace().item<double>() / 40;
  }
  const double variance = output.detach().var(0, false).sum().item<double>();
  const double coefficient = gradhealth::hooks::nonlinearity_coefficient(input, output, rows);
  CHECK(close(coefficient, std::sqrt(trace / variance), 1e-10));
  CHECK(coefficient > 1.05);  // The inputs reach into tanh's bends, or this says nothing.
  CHECK(std::isnan(gradhealth::hooks::nonlinearity_coefficient(x, torch::ones({40, 3}), pulled)));
}

TEST_CASE("linear networks record a nonlinearity coefficient near one, whatever comes first", "[hooks][probe]") {
  torch::manual_seed(18);
  const auto recorded = [](torch::nn::Sequential net, const Tensor& x) {
    TemporaryDirectory directory;
    Monitor monitor(*net, directory / "run.h5", every_step());
    const Tensor loss = net->forward(x).square().mean();
    monitor.backward(loss);
    monitor.step(loss);
    monitor.close();
    return Rows(directory / "run.h5").rows.at(0).at(Quantity::kNonlinearityCoefficient);
  };
  using torch::nn::Conv2dOptions;
  // One cotangent for each of 32 samples: about 6 % of sampling error here.
  CHECK(close(recorded(torch::nn::Sequential(torch::nn::Linear(10, 30), torch::nn::Linear(30, 20)),
                       torch::randn({128, 10}) + 2),
              1, 0.2));
  CHECK(close(recorded(torch::nn::Sequential(torch::nn::Conv2d(Conv2dOptions(1, 4, 3).stride(2)), torch::nn::Flatten(),
                                             torch::nn::Linear(36, 20)),
                       torch::rand({128, 1, 8, 8})),
              1, 0.2));
  CHECK(close(
      recorded(torch::nn::Sequential(torch::nn::Embedding(50, 12), torch::nn::Flatten(), torch::nn::Linear(36, 20)),
               torch::randint(50, {128, 3})),
      1, 0.2));
  CHECK(recorded(torch::nn::Sequential(torch::nn::Linear(10, 30),
                                       torch::nn::Functional([](const Tensor& t) { return t.sin(); }),
                                       torch::nn::Linear(30, 20)),
                 10 * torch::randn({128, 10})) > 2);
  // Samples that see each other, and inputs of which there are several, have no coefficient.
  CHECK(std::isnan(
      recorded(torch::nn::Sequential(torch::nn::Linear(10, 30), torch::nn::BatchNorm1d(30), torch::nn::Linear(30, 20)),
               torch::randn({128, 10}))));
}
