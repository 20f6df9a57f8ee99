#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
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

struct PreflightReport;  // In hooks_preflight.h.

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// What the monitor prints to stderr, at most five lines a run.
enum class Messages : std::uint8_t {
  kFindings,  ///< New warnings and errors, the name of the file if it is not the one asked for, failures.
  kFailures,  ///< Only that recording has stopped, and why.
  kNone,
};

/// How the values of large activations and weights are read. Gradients are always read whole.
enum class Statistics : std::uint8_t {
  /// Tensors of more than 65,536 elements in part, evenly spread, from the 21st step on; whole for ten recorded steps
  /// after anything suspicious. The relative standard error of a root mean square is about 0.3 % (FORMAT.md).
  kSampled,
  kExact,
};

/// What ends a step.
enum class StepMode : std::uint8_t {
  kExplicit,  ///< A call of step().
  /// The update itself: the first operator that writes to a parameter in place after a backward pass. Gradients are
  /// read before anything changes them, so the numbers are those of a step() right after the last backward(). The loss
  /// is what that pass started from: a scaled loss where it is scaled. What cannot be told for certain is marked by an
  /// event of the kind "automatic-step": updates that were skipped, passes for another model's sake, optimizers of
  /// different parameters that take turns. All operators of the process are looked at, at every step.
  kAutomatic,
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

/// Which steps have every operator looked at, so that the first non-finite value can be traced to the one that made
/// it. Such a step takes longer than a recorded one.
enum class OriginSearch : std::uint8_t {
  kSuspicion,      ///< The first 20 steps, and ten steps after a loss or gradient that looks wrong.
  kRecordedSteps,  ///< Those and every recorded step.
  kNever,          ///< None, and no step is replayed.
};

/// What the loss is to the training, so that the rules expect of it what they may.
enum class LossKind : std::uint8_t {
  kUnknown,        ///< Nothing is declared.
  kMinimized,      ///< Becomes smaller as the model becomes better.
  kAdversarial,    ///< One side's of a game, such as a generator's.
  kReinforcement,  ///< Of a policy or a value function; its size means little.
  kDensity,        ///< A negative log-density, which may well be negative.
};

/// What step() may do to the training, beside recording it. Nothing unless asked for, with explicit steps only, and no
/// more once the monitor is closed, disabled or off. Each time it does is an event "intervention" in the run. They look
/// at all gradients in every step; where those are on a device, step() waits for them.
struct Interventions {
  /// Throw TrainingStopped out of step() when a rule finds an error; the step's own recording is complete then. An
  /// error that shows only in the last step of a run is not thrown.
  bool stop = false;
  /// Clip the gradients to this percentile (above 0, up to 1) of the run's own gradient norms, as clip_grad_norm()
  /// does: of up to 512 steps before, once there are 20. Nothing is learnt any more once a rule has found an error, up
  /// to a roll_back(). 0: never.
  double clip_percentile = 0;
  /// Keep a copy of weights, buffers and the monitor's optimizer every N-th step or later, for roll_back(), where the
  /// step is healthy: loss and gradients finite, the loss no outlier, and no rule has found an error. Takes the memory
  /// of two copies. 0: never.
  std::int64_t keep_healthy_every = 0;
};

/// What Interventions::stop throws. The training may go on if it is caught.
class TrainingStopped : public std::runtime_error {
 public:
  explicit TrainingStopped(Finding found)
      : std::runtime_error("training stopped: " + found.rule + ": " + found.message), finding_(std::move(found)) {}
  const Finding& finding() const noexcept { return finding_; }

 private:
  Finding finding_;
};

/// Carries numbers between the ranks of a training; ranks_of() in hooks_ranks.h makes one of a process group. Its own
/// failures end the comparison of the ranks, and nothing else.
class RankExchange {
 public:
  virtual ~RankExchange() = default;
  /// Begins to send to all ranks, without waiting. All ranks call it as often, in the same order, with as many numbers.
  virtual void start(const std::vector<double>& mine) = 0;
  /// The oldest exchange that is complete, by rank; nothing while there is none.
  /// @throws std::exception if it has failed.
  virtual std::optional<std::vector<std::vector<double>>> finished() = 0;
};

/// Which of several processes this is, that train replicas of one model. Each has its own file in the run's directory,
/// `rank-2.h5`, and only rank 0 prints findings.
struct Ranks {
  /// 0: what the environment says in RANK and WORLD_SIZE, as launchers set them; one process where it does not.
  std::int64_t world_size = 0;
  std::int64_t rank = 0;
  /// Compares weights, losses and gradient norms of all ranks during the training; null: the tools do it afterwards,
  /// from the files.
  std::shared_ptr<RankExchange> exchange;
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
  Statistics statistics = Statistics::kSampled;
  /// The file stops growing before this size: recorded steps are spaced out as it fills up.
  std::size_t max_file_bytes = std::size_t{1} << 30;
  /// Recorded steps between two probes of the Jacobian through backward(); 0: never. One costs one to two backward
  /// passes.
  std::int64_t probe_every = 10;
  IfExists if_exists = IfExists::kNextName;
  Durability durability = Durability::kProcess;  ///< Of committed steps: four commits a second.
  Messages messages = Messages::kFindings;
  OriginSearch origin = OriginSearch::kSuspicion;
  LossKind loss_kind = LossKind::kUnknown;
  DiagnosisOptions diagnosis;  ///< From load_config(), for one.
  std::vector<Rule> rules;     ///< Judged by; a copy of catalogue() and rules of one's own. Empty: catalogue().
  StepMode step = StepMode::kExplicit;
  Interventions interventions;
  /// Number of the first step, where a training goes on from a checkpoint: the updates made before. The run goes on in
  /// a further file, run-2.h5 after run.h5, which the tools read after the first.
  std::int64_t first_step = 0;
  Ranks ranks;
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
  std::int64_t steps = 0;            ///< Steps that have ended in this monitor's time.
  std::int64_t recorded_steps = 0;   ///< Rows handed to the file.
  std::int64_t committed_steps = 0;  ///< Rows that a reader is guaranteed to find.
  std::int64_t dropped_steps = 0;    ///< Rows lost to a full queue, after a failure or to a device too far behind.
  double own_seconds = 0;            ///< Time spent in the monitor, as far as it can measure itself.
  std::string error;                 ///< The first failure, in full; empty if none.
};

/// Watches one model: its operators' activations, the gradients there, its parameters and their gradients.
///
/// The model is not changed, nor are its results: weights are bit-identical with and without a monitor. Parameters
/// are held as tensors, so the module may be destroyed first; an optimizer must outlive the monitor. After a failure
/// the monitor says so once, on stderr and in status(), and does nothing more: no member but the constructors, close(),
/// backward() and, where the trainer has asked for it, step() and roll_back() throws; backward() and roll_back() only
/// what LibTorch throws.
///
/// Devices: models on the CPU, on CUDA devices (ROCm included), or on several of them. What is on a CUDA device is
/// summed up there and copied asynchronously: step() does not wait for it, the step is judged and written when its
/// numbers have arrived, usually in the next step() or the one after, and a loss that is on the device is looked at
/// as late. If the device is more than 16 steps behind, steps are left out and counted as dropped; close() waits for
/// the rest. Sparse gradients on a device are missing, operators replayed from a CUDA graph are not seen, and step()
/// must not be called while one is captured. A model on any other device disables the monitor.
///
/// Threads: forward and backward passes may run on any thread; the members are for one thread at a time, and so are
/// updates of the model in automatic mode.
class Monitor {
 public:
  /// @param path run file to create, or a directory (existing, or ending in a slash) for `<name>.h5`. With several
  /// ranks `run.h5` means the directory `run`, and the file in it is `<name>-rank-<rank>.h5`.
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

  /// Ends a step: call once per optimizer update, after the last backward() and before the update; before or after the
  /// trainer's own clipping (see Quantity::kGradientStage). Ignored, and said so once, with StepMode::kAutomatic.
  /// @param loss scalar; reading it, later if it is on a device, is the only use made of it.
  /// @throws TrainingStopped where Interventions::stop asks for it, and nothing else.
  void step(const at::Tensor& loss);
  /// Whether a rule has found an error since the beginning or the last roll_back(): what Interventions::stop throws at,
  /// to be asked instead. In step() the step before is judged, a device's later.
  bool should_stop() const noexcept;
  /// Whether all gradients are finite as they are now: `if (monitor.update_is_finite()) optimizer.step();` skips an
  /// update that would ruin the weights, with any optimizer, whose own state does not see it either. Call after step()
  /// and the trainer's own clipping. Reads all gradients, and waits for a device. An update that is to be skipped is an
  /// event in the run.
  bool update_is_finite() noexcept;
  /// Puts weights, buffers and the optimizer's state and options back to where they were at the latest kept step
  /// (Interventions::keep_healthy_every) before the first error began. Gradients stay: go on with the next batch, not
  /// with the update. Schedulers and data loaders are the trainer's business.
  /// @returns whether there was something to go back to. What fails while it is put back is thrown, LibTorch's own.
  bool roll_back();
  /// Clips the gradients as torch::nn::utils::clip_grad_norm_(parameters, max_norm) does, to the bit, each parameter
  /// once; the step records their norms before, the threshold and the factor. Call after the last backward() and before
  /// step(). Clips when nothing is recorded too.
  /// @returns the L2 norm over all gradients before clipping; NaN if LibTorch could not clip.
  double clip_grad_norm(double max_norm) noexcept;
  /// Records a number under a name of the trainer's own, with the next step(); after the last one, with that.
  void record(const std::string& name, double value) noexcept;
  /// Records an intermediate tensor as an activation. Call in the forward pass, when the tensor has its final value.
  void tap(const std::string& name, const at::Tensor& tensor) noexcept;
  /// Says what the targets of the step's loss are, instead of those that the loss's operator has shown; of several
  /// calls in one step all count. Class indices are integers. Nothing where the tensor is on a device, or complex.
  void target(const at::Tensor& tensor) noexcept;
  /// Says what the model's input is, instead of what entered its first layer: before a preprocessing that is part of
  /// the model, for one. The first dimension counts the samples, of four dimensions or more the second one the
  /// channels.
  void input(const at::Tensor& tensor) noexcept;
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
  /// What preflight() of hooks_preflight.h, which is to be included for it, says of a model, said of the first step as
  /// it was recorded: before anything is updated, if it is asked between the first step() and the update. Undecided
  /// before that, if that step was not recorded, and once the monitor is closed or disabled. Growth of the Jacobian is
  /// judged if the step's pass was backward(). Waits for a device.
  PreflightReport preflight();
  /// The diagnosis of the steps recorded so far; the latest step is judged when the next one ends, or at close(), a
  /// device's when its numbers have arrived.
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
