#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <fmt/format.h>
#include <torch/nn/module.h>

#include <gradhealth/errors.h>
#include <gradhealth/hooks.h>

#include "hooks/capture/activation_recorder.h"
#include "hooks/capture/loss_recorder.h"
#include "hooks/capture/observer.h"
#include "hooks/capture/parameter_recorder.h"
#include "hooks/capture/step_capture.h"
#include "hooks/capture/strangers.h"
#include "hooks/capture/training_calls.h"
#include "hooks/capture/watched_parameters.h"
#include "hooks/interventions/gradient_sizes.h"
#include "hooks/interventions/intervener.h"
#include "hooks/messenger.h"
#include "hooks/optimizer_info.h"
#include "hooks/option_checks.h"
#include "hooks/origin/origin_finder.h"
#include "hooks/probes/prober.h"
#include "hooks/run_description.h"
#include "hooks/run_output.h"
#include "hooks/statistics/reading.h"
#include "hooks/steps/accumulation_hooks.h"
#include "hooks/steps/carried_gradients.h"
#include "hooks/steps/gradient_clipping.h"
#include "hooks/steps/graph_watch.h"
#include "hooks/steps/loss_watch.h"
#include "hooks/steps/named_values.h"
#include "hooks/steps/schedule.h"
#include "hooks/steps/state_watch.h"
#include "hooks/steps/step_doubts.h"
#include "hooks/steps/step_in_flight.h"
#include "hooks/steps/step_queue.h"
#include "hooks/steps/update_observer.h"
#include "hooks/steps/update_watch.h"
#include "hooks/steps/vital_signs.h"

namespace gradhealth {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kIntervention = "intervention";

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

class Monitor::Impl {
 public:
  Impl(const NamedTensors& parameters, const NamedTensors& buffers, std::weak_ptr<torch::nn::Module> module,
       torch::optim::Optimizer* optimizer, const std::filesystem::path& path, MonitorOptions options)
      : options_((hooks::check(options), std::move(options))),
        messenger_(options_.messages),
        schedule_(hooks::schedule_options(options_)),
        optimizer_(optimizer),
        clipping_(parameters),
        intervener_(options_.interventions, buffers),
        stranger_watch_(std::move(module)),
        steps_(options_.first_step) {
    if (hooks::switched_off()) {
      state_ = MonitorState::kOff;
      return;
    }
    parameters_.emplace(parameters);
    output_.emplace(options_.diagnosis, options_.rules.empty() ? catalogue() : options_.rules);
    run_.info = hooks::describe_run(options_, optimizer);
    parameter_recorder_.emplace(*parameters_, run_);
    vital_signs_.emplace(*parameters_);
    state_watch_.emplace(buffers, optimizer);
    origin_.emplace(*parameters_, buffers, options_);
    prober_.emplace(*parameters_);
    if (!on_known_devices()) return;
    const std::filesystem::path file = hooks::run_file_path(path, options_.name);
    if (options_.first_step > 0) continue_run(file);
    output_->open(file, run_, options_.if_exists);
    path_ = output_->status()->path;
    if (path_ != file) messenger_.taken_path(file, path_);
    watch_ = std::make_shared<hooks::UpdateWatch>(*parameters_, [this](Moment moment) { on_moment(moment); });
    accumulation_hooks_ = std::make_unique<hooks::AccumulationHooks>(
        [carried = carried_](std::size_t parameter, const at::Tensor& gradient) {
          carried->before_accumulation(parameter, gradient);
        },
        [watch = std::weak_ptr<hooks::UpdateWatch>(watch_)] {
          if (const auto alive = watch.lock()) hooks::note_accumulation(alive);
        });
    begin_step(steps_);
    last_return_ = created_ = Clock::now();
  }

  ~Impl() {
    try {
      close();
    } catch (...) {  // close() is the call that can tell.
    }
  }

  void step(const at::Tensor& loss) {
    if (hooks::replaying()) return;  // The closure given to replay() computes the loss, and no more.
    if (automatic()) return guarded([&] { note_doubt(Doubt::kStepCalled); });
    if (watch_ && capture_) hooks::settle_backward();
    guarded([&] { clip_as_learned(); });
    take_step(loss);
    guarded([&] { intervener_.end_step(steps_ - 1, loss, clipping_.parameters(), optimizer_, output_->errors()); });
    if (!output_) return;
    if (const std::optional<Finding> found = intervener_.to_throw(output_->errors())) {
      output_->note({steps_ - 1, kIntervention, "", "action=stopped rule=" + found->rule});
      throw TrainingStopped(*found);
    }
  }

  bool should_stop() const noexcept { return output_ && intervener_.found_error(output_->errors()); }

  bool update_is_finite() noexcept {
    std::optional<std::size_t> bad;
    try {
      hooks::settle_backward();
      bad = hooks::first_nonfinite_gradient(clipping_.parameters());
    } catch (...) {  // A gradient that LibTorch cannot read is no reason to skip its update.
      return true;
    }
    if (!bad) return true;
    guarded([&] {
      const at::Tensor& parameter = clipping_.parameters()[*bad];
      for (const hooks::WatchedParameter& each : parameters_->all())
        if (each.tensor.is_same(parameter))
          output_->note({std::max(steps_ - 1, options_.first_step), kIntervention, each.name, "action=skipped"});
    });
    return false;
  }

  bool roll_back() {
    if (!output_) return false;
    guarded([&] {
      const at::NoGradGuard no_grad;
      const at::DisableRecordFunctionGuard no_record;
      // What follows is no update of the last step.
      read_update(Ending::kRunEnds);
      deliver(Waiting::kNone);
    });
    const std::optional<std::int64_t> step = intervener_.roll_back(output_->errors(), optimizer_);
    if (!step) return false;
    guarded([&] {
      output_->note({std::max(steps_ - 1, options_.first_step), kIntervention, "",
                     fmt::format("action=rolled-back to={}", *step)});
    });
    return true;
  }

  double clip_grad_norm(double max_norm) noexcept {
    guarded([&] {
      hooks::settle_backward();
      // Without a backward pass since the last step() this is clipping after it, and the update is still to come.
      if (capture_ && !early_ && watch_->update_expected()) read_gradients(capture_);
    });
    // Whatever has become of the recording, the training asked for its gradients to be clipped.
    std::optional<hooks::Clip> clip;
    std::string error;
    try {
      clip = clipping_.clip(max_norm);
    } catch (const std::exception& thrown) {
      error = thrown.what();
    }
    guarded([&] {
      if (!clip) throw std::runtime_error("clip_grad_norm: " + error);
      if (!early_) return;
      StepRecord& row = early_->row;
      const double before = row.at(Quantity::kClipFactor);
      row.set(Quantity::kClipThreshold, max_norm);
      row.set(Quantity::kClipFactor, std::isnan(before) ? clip->factor : before * clip->factor);
    });
    return clip ? clip->norm : std::numeric_limits<double>::quiet_NaN();
  }

  void record(const std::string& name, double value) noexcept {
    guarded([&] { named_.set(name, value); });
  }

  void tap(const std::string& name, const at::Tensor& tensor) noexcept {
    show([&] {
      if (hooks::reading_of(tensor) != hooks::Reading::kNever) capture_->tap(name, tensor);
    });
  }

  void target(const at::Tensor& tensor) noexcept {
    show([&] { capture_->give_target(tensor); });
  }

  void input(const at::Tensor& tensor) noexcept {
    show([&] { capture_->give_input(tensor); });
  }

  void backward(const at::Tensor& loss, const ProbeOptions& on_demand) {
    probe({hooks::ProbeTarget::Kind::kLoss, loss}, on_demand);
    loss.backward();
  }

  void probe(const hooks::ProbeTarget& target, const ProbeOptions& on_demand) noexcept {
    guarded([&] {
      probes_used_ = true;
      const bool by_hand = target.kind == hooks::ProbeTarget::Kind::kOutput;
      const bool asked = by_hand || on_demand.singular_values || on_demand.curvature;
      // Of the backward passes of one step, the first one stands for all.
      if (!capture_ || (!by_hand && probed_) || !(asked || probe_is_due())) return;
      const Clock::time_point start = Clock::now();
      const at::NoGradGuard no_grad;
      const at::DisableRecordFunctionGuard no_record;
      prober_->probe(*capture_, target, on_demand, steps_);
      probed_ = true;
      const double cost = seconds(Clock::now() - start);
      own_seconds_ += cost;
      probe_seconds_ += cost;
      if (!asked) scheduled_probe_seconds_ = cost;
    });
  }

  void replay(std::function<at::Tensor()> closure) noexcept {
    guarded([&] { origin_->set_replay(std::move(closure)); });
  }

  void on_finding(std::function<void(const Finding&)> callback) {
    if (output_) output_->on_finding(std::move(callback));
  }

  Diagnosis diagnosis() const { return output_ ? output_->diagnosis() : Diagnosis{}; }

  MonitorStatus status() const {
    MonitorStatus status;
    status.state = state_;
    status.path = path_;
    status.steps = steps_ - options_.first_step;
    status.recorded_steps = output_ ? output_->rows() : 0;
    status.own_seconds = own_seconds_;
    status.error = error_;
    const std::optional<WriterStatus> written = output_ ? output_->status() : std::nullopt;
    if (!written) return status;
    status.committed_steps = written->committed_rows;
    status.dropped_steps = written->dropped_rows + left_out_;
    if (status.error.empty()) status.error = written->error;
    if (written->state == WriterState::kFailed && state_ == MonitorState::kRecording)
      status.state = MonitorState::kDisabled;
    return status;
  }

  void close() {
    if (state_ == MonitorState::kClosed || state_ == MonitorState::kOff) return;
    if (state_ == MonitorState::kRecording) {
      guarded([&] {
        const at::NoGradGuard no_grad;
        const at::DisableRecordFunctionGuard no_record;
        if (automatic()) hooks::settle_backward();
        if (automatic() && watch_->update_is_missing()) note_doubt(Doubt::kEndedWithoutUpdate);
        stop_capture();
        forget_gradients();
        if (!named_.empty()) {
          if (!queue_.last_is_open() || queue_.last().purpose == hooks::StepInFlight::Purpose::kWatch) {
            read_update(Ending::kRunEnds);
            add_step(seconds(Clock::now() - created_), nullptr);
          }
          named_.record(run_, queue_.last().row);
        }
        read_update(Ending::kRunEnds);
        deliver(Waiting::kUntilReady);
        if (left_out_ > 0)
          output_->note({steps_, "monitor", "",
                         fmt::format("{} steps were not recorded: the device was too far behind", left_out_)});
      });
    }
    stop_capture();
    const bool disabled = state_ == MonitorState::kDisabled;
    state_ = disabled ? state_ : MonitorState::kClosed;
    if (output_) output_->close();
  }

 private:
  using Moment = hooks::UpdateWatch::Moment;
  using Doubt = hooks::Doubt;
  using Ending = hooks::StepQueue::Ending;
  using Waiting = hooks::StepQueue::Waiting;

  template <typename Body>
  void guarded(Body&& body) noexcept {
    if (state_ != MonitorState::kRecording) return;
    try {
      body();
    } catch (const std::exception& error) {
      disable(error.what());
    } catch (...) {
      disable("an unknown exception");
    }
  }

  /// Something that the trainer shows to the capture of the step in progress.
  template <typename Body>
  void show(Body&& body) noexcept {
    guarded([&] {
      if (!capture_ || hooks::replaying()) return;
      const at::NoGradGuard no_grad;
      const at::DisableRecordFunctionGuard no_record;
      body();
    });
  }

  /// Nothing that goes wrong here may reach the training: whatever was recorded stays, the rest is not recorded.
  void disable(const std::string& error) noexcept {
    try {
      state_ = MonitorState::kDisabled;
      stop_capture();
      queue_.clear();
      error_ = error;
      messenger_.failure(error);
      if (output_) output_->note({steps_, "monitor", "", "recording stopped: " + error});
    } catch (...) {  // Out of memory, most likely: being disabled is all that is left.
    }
  }

  bool on_known_devices() {
    const std::string foreign = parameter_recorder_->foreign_device();
    if (!foreign.empty()) disable(foreign + ", and this version records models on the CPU and on CUDA devices only");
    return foreign.empty();
  }

  bool automatic() const { return options_.step == StepMode::kAutomatic; }

  void take_step(const at::Tensor& loss) noexcept {
    guarded([&] {
      const Clock::time_point start = Clock::now();
      end_step(loss, start);
      last_return_ = Clock::now();
      own_seconds_ += seconds(last_return_ - start);
      weigh_cost(seconds(last_return_ - start));
    });
    ++steps_;
  }

  /// What has become of the gradients; called while the operator waits that makes it so.
  void on_moment(Moment moment) noexcept {
    if (moment == Moment::kUpdate || moment == Moment::kUpdateSkipped) {
      if (automatic()) return end_automatic_step(moment);
      if (moment == Moment::kUpdate) return;  // Before step() was called: a further update of the same step.
    }
    guarded([&] {
      if (moment == Moment::kFailed) throw std::runtime_error("the gradients could not be followed");
      if (moment == Moment::kGradientsChange) {
        if (!automatic() || early_) return;
        if (capture_ || vital_signs_->suspicious()) read_gradients(capture_);
        return;
      }
      forget_gradients();
      if (moment == Moment::kGradientsGrow) return;
      if (capture_) capture_->forget_gradients();
      carried_->begin(parameters_->all().size());
      if (automatic() && moment == Moment::kLikelyPassedThrough) note_doubt(Doubt::kLikelyPassedThrough);
    });
  }

  void end_automatic_step(Moment moment) noexcept {
    guarded([&] {
      if (moment == Moment::kUpdateSkipped) note_doubt(Doubt::kUpdateSkipped);
      if (!watch_->loss().defined()) note_doubt(Doubt::kLossUnknown);
      if (watch_->updates_take_turns()) note_doubt(Doubt::kUpdatesTakeTurns);
    });
    take_step(watch_->loss());
  }

  void clip_as_learned() {
    const auto clipping = intervener_.begin_step(steps_, clipping_.parameters());
    if (!clipping) return;
    clip_grad_norm(clipping->threshold);
    output_->note({steps_, kIntervention, "",
                   fmt::format("action=clipped norm={:.6g} threshold={:.6g} percentile={}", clipping->norm,
                               clipping->threshold, options_.interventions.clip_percentile)});
  }

  void note_doubt(Doubt doubt) {
    if (!doubts_.is_to_be_told(doubt)) return;
    const std::string text = hooks::text(doubt);
    output_->note({steps_, "automatic-step", "", text});
    if (doubt == Doubt::kStepCalled) messenger_.usage(text);
  }

  /// Parameters and gradients of the step in progress, before anything changes them.
  /// @param capture of that step; null if it is not recorded otherwise.
  void read_gradients(const std::shared_ptr<hooks::StepCapture>& capture) {
    const Clock::time_point start = Clock::now();
    const at::NoGradGuard no_grad;
    const at::DisableRecordFunctionGuard no_record;
    if (!on_known_devices()) return;
    read_update(Ending::kNextStep);
    deliver(Waiting::kNone);
    early_ = queue_.fresh(capture ? capture->readback() : nullptr);
    using Weights = hooks::ParameterRecorder::Weights;
    parameter_recorder_->read(early_->parameters, exact(steps_) ? Weights::kWhole : Weights::kSampled,
                              *early_->readback);
    early_->has_parameters = true;
    if (const std::optional<int> stage = watch_->gradient_stage()) early_->row.set(Quantity::kGradientStage, *stage);
    if (capture_) capture_->add_time((Clock::now() - start).count());  // Otherwise step() counts it.
  }

  void forget_gradients() {
    if (!early_) return;
    queue_.discard(std::move(*early_));
    early_.reset();
  }

  /// The run goes on in a further file, if there is one already.
  void continue_run(const std::filesystem::path& file) {
    run_.info.first_step = options_.first_step;
    if (const auto last = latest_part(file)) run_.info.continues = last->filename().string();
  }

  void begin_step(std::int64_t step) {
    forget_gradients();
    leaves_out_ = false;
    if (state_ != MonitorState::kRecording) return;
    bool recorded = schedule_.records(step);
    leaves_out_ = recorded && queue_.full();
    recorded &= !leaves_out_;
    using Kind = hooks::OriginFinder::StepKind;
    origin_->begin_step(step, recorded ? Kind::kRecorded : Kind::kBetween);
    if (recorded || automatic()) {
      carried_->begin(parameters_->all().size());
      accumulation_hooks_->attach(parameters_->all());
      watch_->begin_step(parameters_->table());
      if (!automatic()) watch_->follow_order();
      hooks::watch_updates(watch_);
    } else {
      hooks::stop_watching_updates(watch_);
    }
    if (!recorded) return;
    capture_ = std::make_shared<hooks::StepCapture>(parameters_->table(), parameters_->list(), first_module_);
    if (!exact(step)) capture_->sample({hooks::kSampledElements, static_cast<std::uint64_t>(step)});
    if (probe_is_due() && (step == options_.first_step || probes_used_)) capture_->keep_ends();
    if (loss_recorder_.loss_is_named()) capture_->compare_named_only();
    hooks::observe(capture_);
  }

  bool exact(std::int64_t step) const { return options_.statistics == Statistics::kExact || schedule_.exact(step); }

  /// Of the step in progress, if it is recorded.
  bool probe_is_due() const { return options_.probe_every > 0 && captured_steps_ % options_.probe_every == 0; }

  void stop_capture() noexcept {
    if (origin_) origin_->stop();
    try {
      if (watch_) hooks::stop_watching_updates(watch_);
    } catch (...) {  // A lock that cannot be had: it is stopped for good when the watch is gone.
    }
    if (!capture_) return;
    try {
      hooks::stop_observing(capture_);
    } catch (...) {  // Its weak references are ignored once it is gone.
    }
    capture_.reset();
  }

  void end_step(const at::Tensor& loss, Clock::time_point start) {
    const at::NoGradGuard no_grad;
    const at::DisableRecordFunctionGuard no_record;
    const std::shared_ptr<hooks::StepCapture> capture = std::move(capture_);
    capture_.reset();
    origin_->stop();
    left_out_ += leaves_out_;
    read_update(Ending::kNextStep);
    deliver(Waiting::kNone);
    const bool late_loss = hooks::is_late_loss(loss);
    const double value = late_loss ? 0 : hooks::loss_value(loss);
    const bool has_loss = !late_loss && loss.defined() && loss.numel() == 1;
    bool suspicious = has_loss && loss_watch_.suspicious(value);
    if (!capture) suspicious |= early_ || vital_signs_->suspicious();
    suspicious |= origin_->gradient_is_bad();
    if (suspicious) schedule_.suspect(steps_);
    if (has_loss && !std::isfinite(value)) schedule_.search(steps_);
    if (suspicious) origin_->suspect(steps_);
    const bool recorded = capture || suspicious;
    const bool watched = !recorded && (late_loss || parameter_recorder_->gradient_sample_is_late()) && !queue_.full();
    if (!recorded && !watched && named_.empty()) return begin_step(steps_ + 1);

    std::vector<hooks::ActivationCall> calls;
    hooks::StepFacts facts;
    std::optional<int> graphs_alive;
    std::vector<Event> events;
    if (capture) {
      ++captured_steps_;
      hooks::stop_observing(capture);
      if (const std::string error = capture->error(); !error.empty()) throw std::runtime_error(error);
      calls = capture->finish();
      facts = capture->take_facts();
      graphs_alive = graph_watch_.observe(calls);
      first_module_ = capture->first_module();
      events = meet_strangers(*capture);
      capture_seconds_ = capture->own_seconds();
      own_seconds_ += capture_seconds_;
    }
    if (recorded && !early_) read_gradients(capture);
    if (state_ != MonitorState::kRecording) return;
    hooks::StepInFlight& step = add_step(seconds(start - created_), capture);
    if (watched && named_.empty()) step.purpose = hooks::StepInFlight::Purpose::kWatch;
    if (has_loss) set_loss(value, step.row);
    if (graphs_alive) step.row.set(Quantity::kGraphsAlive, *graphs_alive);
    if (const std::optional<double> share = capture ? carried_->share() : std::nullopt)
      step.row.set(Quantity::kCarriedGradients, *share);
    if (late_loss) step.late_loss = hooks::late_values(loss, *step.readback);
    step.calls = std::move(calls);
    step.facts = std::move(facts);
    step.row.events.insert(step.row.events.end(), events.begin(), events.end());
    using Detail = hooks::StateWatch::Detail;
    if (recorded) state_watch_->record(*parameters_, exact(steps_) ? Detail::kAll : Detail::kSmall, step.row);
    for (const std::string& pattern : watch_->take_order_patterns())
      step.row.events.push_back({steps_, "loop-order", "", "pattern=" + pattern});
    if (recorded) origin_->report(step.row, step.parameters, loss);
    if (recorded) prober_->record(step.row);
    own_seconds_ += origin_->traced_seconds();
    step_seconds_ = seconds(start - last_return_) - (capture ? capture_seconds_ : 0) - origin_->traced_seconds() -
                    std::exchange(probe_seconds_, 0);
    probed_ = false;
    if (watched) step.late_gradient_sample = parameter_recorder_->late_gradient_sample(*step.readback);
    step.readback->start();
    step.row.set(Quantity::kStepTime, step_seconds_);
    if (optimizer_)
      if (const std::optional<double> rate = hooks::learning_rate(*optimizer_))
        step.row.set(Quantity::kLearningRate, *rate);
    named_.record(run_, step.row);
    weigh_ = capture != nullptr;
    deliver(Waiting::kNone);
    begin_step(steps_ + 1);
  }

  hooks::StepInFlight& add_step(double wall_time, const std::shared_ptr<hooks::StepCapture>& capture) {
    hooks::StepInFlight& step =
        queue_.push(early_ ? std::move(*early_) : queue_.fresh(capture ? capture->readback() : nullptr));
    early_.reset();
    step.row.step = steps_;
    step.row.wall_time = wall_time;
    return step;
  }

  static void set_loss(double value, StepRecord& row) {
    row.set(Quantity::kLoss, value);
    row.set(Quantity::kLossNonfinite, std::isfinite(value) ? 0 : 1);
  }

  std::vector<Event> meet_strangers(const hooks::StepCapture& capture) {
    if (capture.strangers().empty()) return {};
    std::vector<Event> events = stranger_watch_.meet(capture.strangers(), steps_, *parameters_);
    parameter_recorder_->announce(run_);
    if (events.empty()) return events;
    forget_gradients();  // They were read of the parameters as they were known before.
    NamedTensors parameters;
    for (const hooks::WatchedParameter& parameter : parameters_->all())
      parameters.emplace_back(parameter.name, parameter.tensor);
    clipping_ = hooks::GradientClipping(parameters);
    return events;
  }

  void read_update(Ending ending) { queue_.read_update(ending, *parameter_recorder_); }

  void deliver(Waiting waiting) {
    queue_.deliver(
        waiting, [this](hooks::StepInFlight& step) { record_values(step); },
        [this](hooks::StepInFlight& step) { finish(step); });
  }

  void record_values(hooks::StepInFlight& step) {
    const hooks::Readback& readback = *step.readback;
    bool suspicious = false;
    if (step.late_loss.filled()) {
      const double value = readback.values(step.late_loss).front();
      set_loss(value, step.row);
      suspicious = loss_watch_.suspicious(value);
    }
    if (step.late_gradient_sample.filled())
      suspicious |= !std::isfinite(readback.values(step.late_gradient_sample).front());
    if (suspicious) {
      schedule_.suspect(steps_);
      step.purpose = hooks::StepInFlight::Purpose::kRecord;
    }
    hooks::complete(step.calls, readback);
    for (hooks::InputSums& input : step.facts.given_inputs) hooks::complete(input, readback);
    const hooks::TrainingCalls training(step.calls);
    loss_recorder_.record(step.facts, step.calls, training, step.row);
    activation_recorder_.record(std::move(step.calls), training, step.facts.given_inputs, run_, step.row);
    if (step.has_parameters) parameter_recorder_->record(step.parameters, readback, step.row);
    if (step.has_parameters) prober_->remember_weights(step.row);
    if (hooks::has_nonfinite(step.row)) schedule_.suspect(steps_);
  }

  /// Adds the effect of the update, judges the row and hands it to the file.
  void finish(hooks::StepInFlight& step) {
    if (step.purpose != hooks::StepInFlight::Purpose::kRecord) return;
    StepRecord& row = step.row;
    if (step.has_parameters) {
      parameter_recorder_->record_update(step.parameters, *step.update_readback, row);
      // A trainer that ends between step() and its update leaves weights that did not change: that says nothing.
      const std::vector<double>& ratios = row.values(Quantity::kUpdateRatio);
      if (step.run_ended_before_update && std::all_of(ratios.begin(), ratios.end(), [](double r) { return !(r > 0); }))
        for (const Quantity effect : {Quantity::kUpdateRatio, Quantity::kUnchangedFraction})
          row.assign(effect, static_cast<const float*>(nullptr), 0);
    }
    output_->take(run_, row, messenger_);
    if (schedule_.observe_bytes(output_->bytes())) note_schedule(row.step, "the file approaches its size limit");
  }

  void weigh_cost(double in_step) {
    if (!weigh_) return;
    weigh_ = false;
    // A probe that is due every N recorded steps costs each of them its share; one that was asked for is the trainer's.
    double own = in_step + capture_seconds_;
    if (options_.probe_every > 0) own += scheduled_probe_seconds_ / static_cast<double>(options_.probe_every);
    if (schedule_.observe_cost(steps_, own, step_seconds_))
      note_schedule(steps_, "recording costs more than its budget");
  }

  void note_schedule(std::int64_t step, const char* reason) {
    output_->note({step, "schedule", "",
                   fmt::format("{}: every {}th step is recorded from now on", reason, schedule_.interval(step))});
  }

  MonitorOptions options_;
  hooks::Messenger messenger_;
  hooks::Schedule schedule_;
  torch::optim::Optimizer* optimizer_;
  hooks::GradientClipping clipping_;
  hooks::Intervener intervener_;
  std::shared_ptr<hooks::UpdateWatch> watch_;  ///< Of every step in automatic mode, else of those that are recorded.
  std::unique_ptr<hooks::AccumulationHooks> accumulation_hooks_;
  std::shared_ptr<hooks::CarriedGradients> carried_ = std::make_shared<hooks::CarriedGradients>();
  hooks::StepDoubts doubts_;
  std::optional<hooks::WatchedParameters> parameters_;
  hooks::StrangerWatch stranger_watch_;
  std::optional<hooks::ParameterRecorder> parameter_recorder_;
  std::optional<hooks::VitalSigns> vital_signs_;
  std::optional<hooks::StateWatch> state_watch_;
  hooks::GraphWatch graph_watch_;
  std::optional<hooks::Prober> prober_;
  hooks::ActivationRecorder activation_recorder_;
  hooks::LossRecorder loss_recorder_;
  hooks::LossWatch loss_watch_;
  std::optional<hooks::OriginFinder> origin_;
  std::string first_module_;
  Run run_;
  std::optional<hooks::RunOutput> output_;
  std::shared_ptr<hooks::StepCapture> capture_;  ///< Of the step in progress, if it is recorded.
  hooks::StepQueue queue_;
  std::optional<hooks::StepInFlight> early_;  ///< Of the step in progress: its gradients, before they were changed.
  hooks::NamedValues named_;
  std::filesystem::path path_;
  std::string error_;
  MonitorState state_ = MonitorState::kRecording;
  Clock::time_point created_;
  Clock::time_point last_return_;
  std::int64_t steps_;         ///< Of the step in progress.
  std::int64_t left_out_ = 0;  ///< Steps that a device was too far behind for.
  double own_seconds_ = 0;
  double step_seconds_ = 0;
  double capture_seconds_ = 0;
  double probe_seconds_ = 0;            ///< In the step in progress.
  double scheduled_probe_seconds_ = 0;  ///< Of the last one that was due and not asked for.
  std::int64_t captured_steps_ = 0;
  bool probes_used_ = false;
  bool probed_ = false;  ///< In the step in progress.
  bool weigh_ = false;
  bool leaves_out_ = false;  ///< The step in progress would have been recorded.
};

Monitor::Monitor(torch::nn::Module& module, std::filesystem::path path, MonitorOptions options)
    : impl_(std::make_unique<Impl>(hooks::parameters_of(module), hooks::buffers_of(module), module.weak_from_this(),
                                   nullptr, path, std::move(options))) {}

Monitor::Monitor(torch::nn::Module& module, torch::optim::Optimizer& optimizer, std::filesystem::path path,
                 MonitorOptions options)
    : impl_(std::make_unique<Impl>(hooks::parameters_of(module), hooks::buffers_of(module), module.weak_from_this(),
                                   &optimizer, path, std::move(options))) {}

Monitor::Monitor(const NamedTensors& parameters, std::filesystem::path path, MonitorOptions options)
    : impl_(std::make_unique<Impl>(parameters, NamedTensors{}, std::weak_ptr<torch::nn::Module>(), nullptr, path,
                                   std::move(options))) {}

Monitor::Monitor(const NamedTensors& parameters, torch::optim::Optimizer& optimizer, std::filesystem::path path,
                 MonitorOptions options)
    : impl_(std::make_unique<Impl>(parameters, NamedTensors{}, std::weak_ptr<torch::nn::Module>(), &optimizer, path,
                                   std::move(options))) {}

Monitor::~Monitor() = default;
Monitor::Monitor(Monitor&&) noexcept = default;
Monitor& Monitor::operator=(Monitor&&) noexcept = default;

void Monitor::step(const at::Tensor& loss) { impl_->step(loss); }
bool Monitor::should_stop() const noexcept { return impl_->should_stop(); }
bool Monitor::update_is_finite() noexcept { return impl_->update_is_finite(); }
bool Monitor::roll_back() { return impl_->roll_back(); }
double Monitor::clip_grad_norm(double max_norm) noexcept { return impl_->clip_grad_norm(max_norm); }
void Monitor::record(const std::string& name, double value) noexcept { impl_->record(name, value); }
void Monitor::tap(const std::string& name, const at::Tensor& tensor) noexcept { impl_->tap(name, tensor); }
void Monitor::target(const at::Tensor& tensor) noexcept { impl_->target(tensor); }
void Monitor::input(const at::Tensor& tensor) noexcept { impl_->input(tensor); }
void Monitor::backward(const at::Tensor& loss, const ProbeOptions& on_demand) { impl_->backward(loss, on_demand); }
void Monitor::probe(const at::Tensor& output, const ProbeOptions& on_demand) noexcept {
  impl_->probe({hooks::ProbeTarget::Kind::kOutput, output}, on_demand);
}
void Monitor::replay(std::function<at::Tensor()> closure) noexcept { impl_->replay(std::move(closure)); }
void Monitor::on_finding(std::function<void(const Finding&)> callback) { impl_->on_finding(std::move(callback)); }
Diagnosis Monitor::diagnosis() const { return impl_->diagnosis(); }
MonitorStatus Monitor::status() const { return impl_->status(); }
void Monitor::close() { impl_->close(); }

}  // namespace gradhealth
