#include "hooks/probes/prober.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <optional>
#include <string_view>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/variable.h>

#include "hooks/probes/curvature_probe.h"
#include "hooks/probes/jacobian_probe.h"
#include "hooks/probes/nonlinearity.h"
#include "hooks/probes/relu_chain.h"

namespace gradhealth::hooks {
namespace {

using torch::autograd::Edge;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Different for each step and purpose; the same in every run.
std::uint64_t seed(std::int64_t step, std::uint64_t purpose) {
  return 0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(step + 1) + purpose;
}

/// Samples whose Jacobians the nonlinearity coefficient is estimated from.
constexpr std::int64_t kMostDifferentiated = 32;

constexpr std::uint64_t kJacobianSeed = 1;
constexpr std::uint64_t kCurvatureSeed = 1'000'000;
constexpr std::uint64_t kSpectralSeed = 2'000'000;

std::int64_t values(const std::vector<std::int64_t>& sizes) {
  std::int64_t product = 1;
  for (const std::int64_t size : sizes) product *= size;
  return product;
}

/// LibTorch's messages go on with a backtrace.
std::string first_line(const char* message) {
  const std::string_view text(message);
  return std::string(text.substr(0, text.find('\n')));
}

}  // namespace

struct Prober::Work {
  Work(StepCapture& step_capture, const ProbeTarget& probe_target, const ProbeOptions& probe_options,
       std::int64_t step_number)
      : capture(step_capture),
        target(probe_target),
        options(probe_options),
        step(step_number),
        graph(probe_target.tensor),
        ends(step_capture.take_ends()) {}

  StepCapture& capture;
  const ProbeTarget& target;
  const ProbeOptions& options;
  std::int64_t step;
  QuietGraph graph;
  ProbeEnds ends;
  std::vector<ProbeTap> taps;  ///< In the graph, without what follows the output.
  std::vector<ActivationProbe> found;
  Edge root;
  std::vector<std::int64_t> root_sizes;
  double root_rms = kNaN;
  int root_call = -1;  ///< -1: the output is no recorded call's.

  bool find_root();
  void set_jacobians(const std::vector<double>& squares);
};

/// The last layer of the graph, or the given output. False if the graph has no recorded call.
bool Prober::Work::find_root() {
  for (ProbeTap& tap : capture.probe_taps())
    if (graph.contains(tap.node.get())) taps.push_back(std::move(tap));
  const bool of_loss = target.kind == ProbeTarget::Kind::kLoss;
  if (!of_loss) root = torch::autograd::impl::gradient_edge(target.tensor);
  const auto last = std::find_if(taps.rbegin(), taps.rend(), [&](const ProbeTap& tap) {
    return of_loss ? tap.parameter >= 0 : tap.edge() == root;
  });
  if (last != taps.rend()) {
    root = last->edge();
    root_sizes = last->sizes;
    root_rms = last->rms;
    root_call = last->call;
    taps.erase(last.base(), taps.end());
  } else if (!of_loss && !taps.empty()) {
    root_sizes = target.tensor.sizes().vec();
    root_rms = std::sqrt(squared_norms({target.tensor.detach()})[0] / static_cast<double>(target.tensor.numel()));
  }
  found.resize(taps.size());
  return !root_sizes.empty() && values(root_sizes) > 0;
}

void Prober::probe(StepCapture& capture, const ProbeTarget& target, const ProbeOptions& options, std::int64_t step) {
  attempt("a probe", "", [&] {
    if (!target.tensor.defined() || !target.tensor.requires_grad())
      return note("", "nothing was probed: the tensor has no gradient graph");
    Work work(capture, target, options, step);
    // A probe must not have effects, and what such code does is not known.
    if (!work.graph.foreign_node().empty())
      return note("", fmt::format("nothing was probed: a probe would run custom code, {}", work.graph.foreign_node()));
    if (work.find_root()) {
      attempt("the Jacobian probe", "", [&] { probe_jacobians(work); });
      if (options.singular_values) probe_singular_values(work);
      for (std::size_t i = 0; i < work.taps.size(); ++i) capture.set_probe(work.taps[i].call, work.found[i]);
    } else {
      note("", "no Jacobian was probed: the graph has no recorded layer of this model with outputs by sample");
    }
    if (options.curvature) attempt("the curvature probe", "", [&] { probe_curvature(work); });
  });
}

void Prober::probe_jacobians(Work& work) {
  const at::Tensor cotangent = normal_like(zeros_at(work.root), seed(work.step, kJacobianSeed));
  const bool root_is_tap = work.root_call >= 0;  // The last one then.
  std::vector<Edge> edges;
  for (const ProbeTap& tap : work.taps) edges.push_back(tap.edge());
  if (root_is_tap) edges.pop_back();
  const NodePtr first = work.ends.first_node.lock();
  const bool reaches_first = first && work.graph.contains(first.get());
  if (reaches_first) edges.emplace_back(first, work.ends.first_output_nr);

  std::vector<at::Tensor> pulled = edges.empty() ? std::vector<at::Tensor>{} : pull_back(work.root, cotangent, edges);
  const at::Tensor at_first = reaches_first ? pulled.back() : at::Tensor();
  if (reaches_first) pulled.pop_back();
  pulled.push_back(cotangent);  // What the root's own tap gets, and the scale of the z-scores.
  const std::vector<double> squares = squared_norms(pulled);
  work.set_jacobians(squares);
  if (root_is_tap) set_z_scores(work, squares.back());
  if (at_first.defined()) attempt("the nonlinearity coefficient", "", [&] { probe_nonlinearity(work, at_first); });
}

void Prober::Work::set_jacobians(const std::vector<double>& squares) {
  const double samples = static_cast<double>(root_sizes[0]);
  const double output_norm = root_rms * std::sqrt(static_cast<double>(values(root_sizes)) / samples);
  for (std::size_t i = 0; i < taps.size(); ++i) {
    found[i].jacobian_norm = std::sqrt(squares[i] / samples);
    // By column of the Jacobian and by value of the activation: the number of values a sample cancels.
    found[i].gradient_scale = found[i].jacobian_norm * taps[i].rms / output_norm;
  }
}

void Prober::set_z_scores(Work& work, double cotangent_square) {
  const std::vector<ChainExpectation> expected = relu_chain_expectations(
      work.taps, work.taps.size() - 1, [this](int parameter) { return first_squared_norm(parameter); });
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double square = std::pow(work.found[i].jacobian_norm, 2) * static_cast<double>(work.root_sizes[0]);
    work.found[i].z_score = expected[i].z_score(std::log(square / cotangent_square));
  }
}

void Prober::probe_nonlinearity(const Work& work, const at::Tensor& at_first) {
  const bool of_loss = work.target.kind == ProbeTarget::Kind::kLoss;
  const ProbeEnds& ends = work.ends;
  if (of_loss && ends.output_call != work.root_call) return;
  const at::Tensor output = of_loss ? ends.output : work.target.tensor.detach();
  const bool by_sample = ends.input.defined() && output.defined() && ends.input.size(0) == output.size(0);
  // Several inputs, values that are overwritten, or samples that see each other: no Jacobian by sample.
  if (!by_sample || output.size(0) < 2 || ends.first_repeats || ends.stale() || work.graph.couples_samples()) return;
  // By a convolution's input, which training itself never differentiates by, all samples cost more than the rest of the
  // probe.
  const std::int64_t stride = sample_stride(ends.input, kMostDifferentiated);
  const at::Tensor at_input =
      ends.first ? ends.first->pull_back(at_first, stride) : at_first.slice(0, 0, at_first.size(0), stride);
  nonlinearity_ = nonlinearity_coefficient(ends.input, output, {at_input});
}

void Prober::probe_singular_values(Work& work) {
  for (std::size_t i = 1; i < work.taps.size(); ++i) {
    const ProbeTap& before = work.taps[i - 1];
    const ProbeTap& tap = work.taps[i];
    if (before.node == tap.node) continue;
    attempt("the largest singular value", tap.module, [&] {
      work.found[i].spectral_norm = largest_singular_value(tap.edge(), before.edge(), work.options.iterations,
                                                           seed(work.step, kSpectralSeed + i));
    });
  }
}

void Prober::probe_curvature(Work& work) {
  if (work.target.kind != ProbeTarget::Kind::kLoss)
    return note("", "no curvature was probed: it needs the loss, from Monitor::backward");
  work.graph.quiet_parameters();
  std::vector<at::Tensor> parameters;
  for (const WatchedParameter& parameter : parameters_.all()) parameters.push_back(parameter.tensor);
  if (const std::optional<double> curvature =
          largest_curvature(work.target.tensor, parameters, work.options.iterations, seed(work.step, kCurvatureSeed)))
    curvature_ = *curvature;
}

double Prober::first_squared_norm(int parameter) {
  const auto index = static_cast<std::size_t>(parameter);
  // A layer whose weight is tied is named by its bias.
  if (parameters_.all()[index].tensor.dim() < 2) return kNaN;
  if (first_norms_.empty()) {
    std::vector<at::Tensor> tensors;
    for (const WatchedParameter& watched : parameters_.all()) tensors.push_back(watched.tensor.detach());
    for (const double square : squared_norms(tensors)) first_norms_.push_back(std::sqrt(square));
  }
  return std::pow(first_norms_.at(index), 2);
}

void Prober::remember_weights(const StepRecord& row) {
  if (first_norms_.empty()) first_norms_ = row.values(Quantity::kWeightNorm);
}

void Prober::record(StepRecord& row) {
  if (!std::isnan(nonlinearity_)) row.set(Quantity::kNonlinearityCoefficient, nonlinearity_);
  if (!std::isnan(curvature_)) row.set(Quantity::kCurvature, curvature_);
  for (const auto& [subject, text] : notes_) row.events.push_back({row.step, "probe", subject, text});
  nonlinearity_ = curvature_ = kNaN;
  notes_.clear();
}

template <typename Body>
void Prober::attempt(const char* what, const std::string& subject, Body&& body) {
  try {
    body();
  } catch (const std::exception& error) {
    note(subject, fmt::format("{} failed: {}", what, first_line(error.what())));
  }
}

void Prober::note(const std::string& subject, const std::string& text) {
  if (told_.insert(subject + '\n' + text).second) notes_.emplace_back(subject, text);
}

}  // namespace gradhealth::hooks
