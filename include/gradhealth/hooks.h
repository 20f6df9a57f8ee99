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

/// Which steps have every operator looked at, so that the first non-finite value can be traced to the one that made
/// it. Such a step takes longer than a recorded one.
enum class OriginSearch : std::uint8_t {
  kSuspicion,      ///< The first 20 steps, and ten steps after a loss or gradient that looks wrong.
  kRecordedSteps,  ///< Those and every recorded step.
  kNever,          ///< None, and no step is replayed.
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
  IfExists if_exists = IfExists::kNextName;
  Messages messages = Messages::kFindings;
  OriginSearch origin = OriginSearch::kSuspicion;
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
  /// Tells how to compute the loss of the present step again, on the same batch: forward only, no backward(), no
  /// update. When a step that was not traced has a non-finite loss or gradient, step() calls it, at most three times a
  /// run, to find the operator where that began. Random generators are set back to where they were when the step began,
  /// or when replay() was called, whichever is later; afterwards they, the module's buffers and all gradients are as if
  /// it had not been called. Once for the whole run, or anew in each step. What it refers to must outlive the monitor
  /// or the next call of replay(). One that throws is an event in the run; an empty function means none.
  void replay(std::function<at::Tensor()> closure) noexcept;
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
