#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gradhealth/diagnosis.h>
#include <gradhealth/rules.h>
#include <gradhealth/run_file.h>

// LibTorch is named, not included: <torch/torch.h> costs 20 s of compile time, and whoever has a model to
// monitor has included it already.
namespace at {
class Tensor;
}
namespace torch {
namespace nn {
class Module;
}
namespace optim {
class Optimizer;
}
}  // namespace torch

/// Records a LibTorch training as it runs.
namespace gradhealth {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// What the monitor prints to stderr, at most five lines a run.
enum class Messages : std::uint8_t {
  kFindings,  ///< New warnings and errors, the name of the file if it is not the one asked for, failures.
  kFailures,  ///< Only that recording has stopped, and why.
  kNone,
};

/// What a probe computes beside the Jacobian norms. Neither is ever computed unless asked for.
struct ProbeOptions {
  /// Largest singular value of the Jacobian between each two consecutive activations, over the whole batch. All of them
  /// together cost one to three backward passes an iteration.
  bool singular_values = false;
  /// Largest eigenvalue of the loss's Hessian by the parameters; needs the loss, so backward(). Costs about four
  /// backward passes an iteration.
  bool curvature = false;
  /// Of Lanczos' method, for either.
  int iterations = 10;
};

struct MonitorOptions {
  /// Tells models of one run apart; also the file's name when the path is a directory.
  std::string name;
  /// Record every N-th step. 0: the first 20 steps, then every 10th, rarer as the run grows longer.
  std::int64_t every = 0;
  /// Share of the training time that recording may take once the first 20 steps are over; recorded steps are
  /// spaced out until it holds. Not applied with `every`, nor where the environment has CI set: there, the
  /// schedule depends on the step number alone.
  double budget = 0.01;
  /// The file stops growing before this size: recorded steps are spaced out as it fills up.
  std::size_t max_file_bytes = std::size_t{1} << 30;
  /// Recorded steps between two probes of the Jacobian through backward(); 0: never. One costs one to two backward
  /// passes.
  std::int64_t probe_every = 10;
  IfExists if_exists = IfExists::kNextName;
  Messages messages = Messages::kFindings;
  DiagnosisOptions rules;  ///< From load_config(), for one.
};

enum class MonitorState : std::uint8_t {
  kRecording,
  kClosed,
  kDisabled,  ///< Recording stopped by a failure; the training goes on.
  kOff,       ///< The environment has GRADHEALTH=off.
};

struct MonitorStatus {
  MonitorState state = MonitorState::kRecording;
  std::filesystem::path path;        ///< The file actually written.
  std::int64_t steps = 0;            ///< step() calls.
  std::int64_t recorded_steps = 0;   ///< Rows handed to the file.
  std::int64_t committed_steps = 0;  ///< Rows that a reader is guaranteed to find.
  std::int64_t dropped_steps = 0;    ///< Rows lost to a full queue or after a failure.
  double own_seconds = 0;            ///< Time spent in the monitor, as far as it can measure itself.
  std::string error;                 ///< The first failure, in full; empty if none.
};

/// Watches one model: its operators' activations, the gradients there, its parameters and their gradients.
///
/// The model is not changed, nor are its results: weights are bit-identical with and without a monitor. Parameters
/// are held as tensors, so the module may be destroyed first; an optimizer must outlive the monitor. After a failure
/// the monitor says so once, on stderr and in status(), and does nothing more: no member but the constructors and
/// close() throws. CPU tensors only in this version; a model on another device disables the monitor.
///
/// Threads: forward and backward passes may run on any thread; the members are for one thread at a time.
class Monitor {
 public:
  /// @param path run file to create, or a directory (existing, or ending in a slash) for `<name>.h5`.
  /// @throws UsageError if the model has no parameters, an option is out of range or the path cannot be a run file.
  /// @throws IoError if the file cannot be created.
  Monitor(torch::nn::Module& module, std::filesystem::path path, MonitorOptions options = {});
  /// Also records the learning rate, from `optimizer`.
  Monitor(torch::nn::Module& module, torch::optim::Optimizer& optimizer, std::filesystem::path path,
          MonitorOptions options = {});
  /// For models that are no modules: names such as "layer1.weight" group parameters by what precedes the last dot.
  Monitor(const NamedTensors& parameters, std::filesystem::path path, MonitorOptions options = {});
  Monitor(const NamedTensors& parameters, torch::optim::Optimizer& optimizer, std::filesystem::path path,
          MonitorOptions options = {});
  ~Monitor();  ///< Closes; never throws.
  Monitor(Monitor&&) noexcept;
  Monitor& operator=(Monitor&&) noexcept;

  /// Ends a step: call once per optimizer update, after the last backward() and before the update.
  /// @param loss scalar; reading it is the only use made of it.
  void step(const at::Tensor& loss) noexcept;
  /// Records a number under a name of the trainer's own, with the next step(); after the last one, with that.
  void record(const std::string& name, double value) noexcept;
  /// Records an intermediate tensor as an activation. Call in the forward pass, when the tensor has its final value.
  void tap(const std::string& name, const at::Tensor& tensor) noexcept;
  /// `loss.backward()`, with a probe before it where one is due (MonitorOptions::probe_every) or asked for and the step
  /// is recorded. Everything but the probes works as well with `loss.backward()` itself; a probe needs the graph, which
  /// is gone after it. Of several calls in one step, the first one is probed.
  ///
  /// A probe sends random cotangents from the last layer's output back through the graph, for all activations in one
  /// pass: Jacobian norm, gradient scale coefficient and, for plain ReLU networks, the z-score; on steps where it was
  /// due also the nonlinearity coefficient, for networks without batch normalisation that start with a linear layer, a
  /// convolution or an embedding. It leaves weights, gradients, buffers and random states as they are; hooks are not
  /// called, and tensors that retain their gradient do not receive the probe's. It runs no code but LibTorch's: a
  /// graph with custom autograd functions or TorchScript in it is not probed. What failed is an event in the run.
  /// @throws what `loss.backward()` throws, and nothing else.
  void backward(const at::Tensor& loss, const ProbeOptions& on_demand = {});
  /// The same probe by hand, from any output of the model, before the backward pass; always, if the step is recorded.
  void probe(const at::Tensor& output, const ProbeOptions& on_demand = {}) noexcept;
  /// Calls back from within step() for each new finding, once per rule and subject. Replaces the previous callback.
  /// One that throws is dropped.
  void on_finding(std::function<void(const Finding&)> callback);
  /// The diagnosis of the steps recorded so far; the latest step is judged when the next one ends, or at close().
  Diagnosis diagnosis() const;
  MonitorStatus status() const;
  /// Ends the recording and closes the file. Calling it again does nothing.
  /// @throws IoError if something that was recorded could not be written.
  void close();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gradhealth
