#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include <gradhealth/hooks.h>
#include <gradhealth/run.h>

#include "hooks/capture/parameter_recorder.h"
#include "hooks/capture/step_capture.h"
#include "hooks/capture/strangers.h"
#include "hooks/capture/watched_parameters.h"
#include "hooks/messenger.h"
#include "hooks/origin/origin_finder.h"
#include "hooks/preflight/one_pass.h"
#include "hooks/probes/prober.h"
#include "hooks/recording/capture_plan.h"
#include "hooks/recording/cost_meter.h"
#include "hooks/recording/rank_comparison.h"
#include "hooks/recording/row_completion.h"
#include "hooks/run_output.h"
#include "hooks/steps/accumulation_hooks.h"
#include "hooks/steps/carried_gradients.h"
#include "hooks/steps/gradient_clipping.h"
#include "hooks/steps/graph_watch.h"
#include "hooks/steps/loss_watch.h"
#include "hooks/steps/named_values.h"
#include "hooks/steps/schedule.h"
#include "hooks/steps/state_watch.h"
#include "hooks/steps/step_doubts.h"
#include "hooks/steps/step_queue.h"
#include "hooks/steps/update_watch.h"
#include "hooks/steps/vital_signs.h"

namespace gradhealth::hooks {

/// One model's run as it is recorded: what is looked at in a step, when it is read, and how it comes into the file.
///
/// Members throw what goes wrong. The monitor catches it and then calls nothing but abandon(), output() and close().
class Recording {
 public:
  using Moment = UpdateWatch::Moment;

  /// @param optimizer may be null. @param options and messenger must outlive this.
  /// @throws UsageError if there are no parameters, or for an option of a rule that does not exist.
  Recording(const NamedTensors& parameters, const NamedTensors& buffers, std::weak_ptr<torch::nn::Module> module,
            torch::optim::Optimizer* optimizer, const MonitorOptions& options, Messenger& messenger);

  /// Creates the file and begins the first step. @param tell of the gradients, on whatever thread changes them.
  /// @throws UsageError, IoError as RunWriter does.
  void open(const std::filesystem::path& file, UpdateWatch::Tell tell);
  /// @throws std::runtime_error if a parameter is on a device that cannot be recorded.
  void check_devices() const;

  /// Gradients are complete, the update is still to come; the next step begins.
  void end_step(const at::Tensor& loss);
  /// The trainer goes on: weighs what the step has cost.
  void step_returns();
  /// What has become of the gradients; not for updates, which end steps.
  void on_moment(Moment moment);
  /// In automatic mode, an update is about to be made, or was skipped: what is uncertain about that.
  void note_doubts_of_update(Moment moment);
  void note_doubt(Doubt doubt);
  /// What the automatic step's pass started from.
  at::Tensor watched_loss() const { return watch_->loss(); }

  void before_clipping();
  void note_clipping(double max_norm, const Clip& clip);
  void record(const std::string& name, double value) { named_.set(name, value); }
  void probe(const ProbeTarget& target, const ProbeOptions& on_demand);
  void set_replay(std::function<at::Tensor()> closure) { origin_.set_replay(std::move(closure)); }
  /// Of the step in progress; null if it is not recorded.
  const std::shared_ptr<StepCapture>& capture() const { return capture_; }
  /// The weights are about to be changed by something that is no update.
  void before_foreign_change();

  /// Name of a watched parameter; empty if it is none.
  std::string name_of(const at::Tensor& parameter) const { return parameters_.name_of(parameter); }
  /// The parameters, if others have been met since the last call.
  std::optional<NamedTensors> take_new_parameters();
  RunOutput& output() { return output_; }
  const RunOutput& output() const { return output_; }
  std::int64_t left_out() const { return left_out_; }  ///< Steps that a device was too far behind for.
  double own_seconds() const { return cost_.own(); }

  /// What was recorded of the first step, before its update; waits for a device. Nothing if it has not ended yet, or
  /// was not recorded.
  const std::optional<OnePass>& first_pass();

  /// Ends the last step, and waits for what a device still owes.
  void finish();
  /// Looks at nothing any more, for good.
  void stop() noexcept;
  /// The same after a failure: what is not in the file yet is given up.
  void abandon(const std::string& error) noexcept;

 private:
  using Ending = StepQueue::Ending;
  using Waiting = StepQueue::Waiting;
  /// What the operators of a step have told, once it has ended.
  struct Seen {
    std::vector<ActivationCall> calls;
    StepFacts facts;
    std::optional<int> graphs_alive;
    std::vector<Event> events;
    std::optional<double> capturing;  ///< Seconds; nothing if the operators were not looked at.
  };
  /// The loss as far as the host knows it.
  struct Loss {
    bool late = false;  ///< On a device.
    std::optional<double> value;
  };

  bool automatic() const { return options_.step == StepMode::kAutomatic; }
  void begin_step(std::int64_t step);
  bool is_suspicious(const Loss& loss, bool captured);
  Seen take(const std::shared_ptr<StepCapture>& capture);
  StepInFlight& fill(Seen&& seen, const Loss& loss, const at::Tensor& tensor,
                     const std::shared_ptr<StepCapture>& capture);
  void record_state(StepInFlight& step, const at::Tensor& loss);
  void read_gradients(const std::shared_ptr<StepCapture>& capture);
  void forget_gradients();
  StepInFlight& add_step(const std::shared_ptr<StepCapture>& capture);
  std::vector<Event> meet_strangers(const StepCapture& capture);
  void read_update(Ending ending) { queue_.read_update(ending, parameter_recorder_); }
  void deliver(Waiting waiting);
  void take_values(StepInFlight& step);
  void finish(StepInFlight& step);
  void take(StepRecord& row);
  void note_ranks(const std::string& reason);
  void note_schedule(std::int64_t step, const char* reason);

  const MonitorOptions& options_;
  Messenger& messenger_;
  torch::optim::Optimizer* optimizer_;
  Run run_;
  WatchedParameters parameters_;
  ParameterRecorder parameter_recorder_;
  RunOutput output_;
  Schedule schedule_;
  CapturePlan plan_;
  VitalSigns vital_signs_;
  StateWatch state_watch_;
  OriginFinder origin_;
  Prober prober_;
  StrangerWatch stranger_watch_;
  GraphWatch graph_watch_;
  LossWatch loss_watch_;
  RowCompletion completion_;
  std::optional<RankComparison> ranks_;  ///< If ranks are compared while they train.
  StepDoubts doubts_;
  NamedValues named_;
  CostMeter cost_;
  std::shared_ptr<CarriedGradients> carried_ = std::make_shared<CarriedGradients>();
  std::shared_ptr<UpdateWatch> watch_;  ///< Of every step in automatic mode, else of those that are recorded.
  std::unique_ptr<AccumulationHooks> accumulation_hooks_;
  std::shared_ptr<StepCapture> capture_;
  StepQueue queue_;
  std::optional<StepInFlight> early_;  ///< Of the step in progress: its gradients, before they were changed.
  std::optional<OnePass> first_pass_;
  std::string first_module_;
  std::int64_t step_ = 0;      ///< In progress.
  std::int64_t left_out_ = 0;  ///< Steps that a device was too far behind for.
  bool leaves_out_ = false;  ///< The step in progress would have been recorded.
  bool probed_ = false;  ///< In the step in progress.
  bool stopped_ = false;
  bool has_new_parameters_ = false;
};

}  // namespace gradhealth::hooks
