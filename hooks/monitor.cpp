#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <fmt/format.h>

#include <gradhealth/errors.h>
#include <gradhealth/hooks.h>

#include "hooks/accumulation_hooks.h"
#include "hooks/activation_recorder.h"
#include "hooks/gradient_clipping.h"
#include "hooks/loss_watch.h"
#include "hooks/messenger.h"
#include "hooks/observer.h"
#include "hooks/optimizer_info.h"
#include "hooks/parameter_recorder.h"
#include "hooks/run_description.h"
#include "hooks/schedule.h"
#include "hooks/step_capture.h"
#include "hooks/step_doubts.h"
#include "hooks/update_observer.h"
#include "hooks/update_watch.h"
#include "hooks/watched_parameters.h"

namespace gradhealth {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

bool environment_is(const char* variable, std::string_view value) {
  const char* set = std::getenv(variable);
  return set && value == set;
}

void check(const MonitorOptions& options) {
  if (options.every < 0) throw UsageError(fmt::format("MonitorOptions::every is {}; it counts steps", options.every));
  if (!(options.budget >= 0 && options.budget <= 1))
    throw UsageError(fmt::format("MonitorOptions::budget is {}; it is a share of the training time, 0 to 1",
                                 options.budget));
  if (options.first_step < 0)
    throw UsageError(fmt::format("MonitorOptions::first_step is {}; steps count from 0", options.first_step));
}

hooks::ScheduleOptions schedule_options(const MonitorOptions& options) {
  const char* ci = std::getenv("CI");
  const bool in_ci = ci && *ci;
  return {options.every, in_ci ? 0 : options.budget, options.max_file_bytes, options.first_step};
}

}  // namespace

class Monitor::Impl {
 public:
  Impl(const NamedTensors& parameters, torch::optim::Optimizer* optimizer, const std::filesystem::path& path,
       MonitorOptions options)
      : options_((check(options), std::move(options))),
        messenger_(options_.messages),
        schedule_(schedule_options(options_)),
        optimizer_(optimizer),
        clipping_(parameters),
        steps_(options_.first_step) {
    if (environment_is("GRADHEALTH", "off")) {
      state_ = MonitorState::kOff;
      return;
    }
    parameters_.emplace(parameters);
    diagnoser_.emplace(options_.rules);
    run_.info = hooks::describe_run(options_.name, optimizer);
    parameter_recorder_.emplace(*parameters_, run_);
    std::vector<std::string> modules;
    for (const hooks::WatchedParameter& parameter : parameters_->all()) modules.push_back(parameter.module);
    modules_ = std::make_shared<const std::vector<std::string>>(std::move(modules));
    if (!on_cpu()) return;
    const std::filesystem::path file = hooks::run_file_path(path, options_.name);
    WriterOptions writer_options;
    writer_options.if_exists = options_.if_exists;
    if (options_.first_step > 0) continue_run(file);
    writer_.emplace(file, run_, writer_options);
    path_ = writer_->status().path;
    if (path_ != file) messenger_.taken_path(file, path_);
    watch_ = std::make_shared<hooks::UpdateWatch>(*parameters_, [this](Moment moment) { on_moment(moment); });
    accumulation_hooks_ = std::make_unique<hooks::AccumulationHooks>(
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

  void step(const at::Tensor& loss) noexcept {
    if (automatic()) return guarded([&] { note_doubt(Doubt::kStepCalled); });
    if (watch_ && capture_) hooks::settle_backward();
    take_step(loss);
  }

  double clip_grad_norm(double max_norm) noexcept {
    guarded([&] {
      hooks::settle_backward();
      // Without a backward pass since the last step() this is clipping after it, and the update is still to come.
      if (capture_ && !early_ && watch_->update_expected()) read_gradients();
    });
    // Whatever has become of the recording, the training asked for its gradients to be clipped.
    hooks::Clip clip;
    clip.norm = std::numeric_limits<double>::quiet_NaN();
    std::string error;
    try {
      clip = clipping_.clip(max_norm);
    } catch (const std::exception& thrown) {
      error = thrown.what();
    }
    guarded([&] {
      if (!error.empty()) throw std::runtime_error("clip_grad_norm: " + error);
      if (!early_) return;
      const double before = early_->at(Quantity::kClipFactor);
      early_->set(Quantity::kClipThreshold, max_norm);
      early_->set(Quantity::kClipFactor, std::isnan(before) ? clip.factor : before * clip.factor);
    });
    return clip.norm;
  }

  void record(const std::string& name, double value) noexcept {
    guarded([&] { named_[name] = value; });
  }

  void tap(const std::string& name, const at::Tensor& tensor) noexcept {
    guarded([&] {
      if (!capture_ || !hooks::readable(tensor)) return;
      const at::NoGradGuard no_grad;
      const at::DisableRecordFunctionGuard no_record;
      capture_->tap(name, tensor);
    });
  }

  void on_finding(std::function<void(const Finding&)> callback) { callback_ = std::move(callback); }

  Diagnosis diagnosis() const { return diagnoser_ ? diagnoser_->diagnosis() : Diagnosis{}; }

  MonitorStatus status() const {
    MonitorStatus status;
    status.state = state_;
    status.path = path_;
    status.steps = steps_ - options_.first_step;
    status.recorded_steps = recorded_steps_;
    status.own_seconds = own_seconds_;
    status.error = error_;
    if (writer_) {
      const WriterStatus written = writer_->status();
      status.committed_steps = written.committed_rows;
      status.dropped_steps = written.dropped_rows;
      if (status.error.empty()) status.error = written.error;
      if (written.state == WriterState::kFailed && state_ == MonitorState::kRecording)
        status.state = MonitorState::kDisabled;
    }
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
        if (!pending_ && !named_.empty()) {
          pending_.emplace();
          pending_->step = steps_;
          pending_->wall_time = seconds(Clock::now() - created_);
        }
        if (pending_) {
          set_named(*pending_);
          finish_pending(Ending::kRunEnds);
        }
      });
    }
    stop_capture();
    const bool disabled = state_ == MonitorState::kDisabled;
    state_ = disabled ? state_ : MonitorState::kClosed;
    if (writer_) writer_->close();
  }

 private:
  using Moment = hooks::UpdateWatch::Moment;
  using Doubt = hooks::Doubt;
  enum class Ending { kNextStep, kRunEnds };

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

  /// Nothing that goes wrong here may reach the training: whatever was recorded stays, the rest is not recorded.
  void disable(const std::string& error) noexcept {
    try {
      state_ = MonitorState::kDisabled;
      stop_capture();
      pending_.reset();
      error_ = error;
      messenger_.failure(error);
      if (writer_) writer_->append(Event{steps_, "monitor", "", "recording stopped: " + error});
    } catch (...) {  // Out of memory, most likely: being disabled is all that is left.
    }
  }

  bool on_cpu() {
    const std::string foreign = parameter_recorder_->foreign_device();
    if (!foreign.empty()) disable(foreign + ", and this version records models on the CPU only");
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
        if (capture_ || !parameter_recorder_->gradient_sample_is_finite()) read_gradients();
        return;
      }
      forget_gradients();
      if (moment == Moment::kGradientsGrow) return;
      if (capture_) capture_->forget_gradients();
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

  void note_doubt(Doubt doubt) {
    if (!doubts_.is_to_be_told(doubt)) return;
    const std::string text = hooks::text(doubt);
    writer_->append(Event{steps_, "automatic-step", "", text});
    if (doubt == Doubt::kStepCalled) messenger_.usage(text);
  }

  /// Parameters and gradients of the step in progress, before anything changes them.
  void read_gradients() {
    const Clock::time_point start = Clock::now();
    const at::NoGradGuard no_grad;
    const at::DisableRecordFunctionGuard no_record;
    if (!on_cpu()) return;
    if (pending_) finish_pending(Ending::kNextStep);
    StepRecord row = std::move(spare_);
    row.clear();
    parameter_recorder_->record(row);
    if (const std::optional<int> stage = watch_->gradient_stage()) row.set(Quantity::kGradientStage, *stage);
    early_ = std::move(row);
    if (capture_) capture_->add_time((Clock::now() - start).count());
  }

  void forget_gradients() {
    if (early_) spare_ = std::move(*early_);
    early_.reset();
  }

  /// The run goes on in a further file, if there is one already.
  void continue_run(const std::filesystem::path& file) {
    run_.info.first_step = options_.first_step;
    if (const auto last = latest_part(file)) run_.info.continues = last->filename().string();
  }

  void begin_step(std::int64_t step) {
    forget_gradients();
    const bool recorded = schedule_.records(step);
    if (recorded || automatic()) {
      accumulation_hooks_->attach(parameters_->all());
      watch_->begin_step(parameters_->table());
      hooks::watch_updates(watch_);
    } else {
      hooks::stop_watching_updates(watch_);
    }
    if (!recorded) return;
    capture_ = std::make_shared<hooks::StepCapture>(parameters_->table(), modules_, first_module_);
    hooks::observe(capture_);
  }

  void stop_capture() noexcept {
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
    if (pending_) finish_pending(Ending::kNextStep);
    const double value = hooks::loss_value(loss);
    const bool has_loss = loss.defined() && loss.numel() == 1;
    bool suspicious = has_loss && loss_watch_.suspicious(value);
    if (!capture) suspicious |= early_ || !parameter_recorder_->gradient_sample_is_finite();
    if (suspicious) schedule_.suspect(steps_);
    if (!capture && !suspicious && named_.empty()) return begin_step(steps_ + 1);

    if (capture) hooks::stop_observing(capture);
    if (!early_ && (capture || suspicious)) read_gradients();
    if (state_ != MonitorState::kRecording) return;
    StepRecord row = early_ ? std::move(*early_) : std::move(spare_);
    if (!std::exchange(early_, std::nullopt)) row.clear();
    row.step = steps_;
    row.wall_time = seconds(start - created_);
    if (has_loss) {
      row.set(Quantity::kLoss, value);
      row.set(Quantity::kLossNonfinite, std::isfinite(value) ? 0 : 1);
    }
    step_seconds_ = seconds(start - last_return_);
    if (capture) {
      if (const std::string error = capture->error(); !error.empty()) throw std::runtime_error(error);
      activation_recorder_.record(capture->finish(), run_, row);
      first_module_ = capture->first_module();
      capture_seconds_ = capture->own_seconds();
      own_seconds_ += capture_seconds_;
      step_seconds_ -= capture_seconds_;
    }
    row.set(Quantity::kStepTime, step_seconds_);
    if (optimizer_)
      if (const std::optional<double> rate = hooks::learning_rate(*optimizer_)) row.set(Quantity::kLearningRate, *rate);
    set_named(row);
    pending_ = std::move(row);
    update_expected_ = capture || suspicious;
    weigh_ = capture != nullptr;
    begin_step(steps_ + 1);
  }

  void set_named(StepRecord& row) {
    for (const auto& [name, value] : named_) {
      std::vector<Subject>& subjects = run_.of(Axis::kNamed);
      const auto found = std::find_if(subjects.begin(), subjects.end(), [&n = name](const Subject& s) { return s.name == n; });
      const auto index = static_cast<std::size_t>(found - subjects.begin());
      if (found == subjects.end()) subjects.push_back({name, "", "named", "", "float64", 1});
      row.set(Quantity::kNamedValue, index, value);
    }
    named_.clear();
  }

  /// Adds the effect of the update to the last row, judges it and hands it to the file.
  void finish_pending(Ending ending) {
    StepRecord row = std::move(*pending_);
    pending_.reset();
    if (update_expected_) {
      parameter_recorder_->record_update(row);
      // A trainer that ends between step() and its update leaves weights that did not change: that says nothing.
      const std::vector<double>& ratios = row.values(Quantity::kUpdateRatio);
      if (ending == Ending::kRunEnds && std::all_of(ratios.begin(), ratios.end(), [](double r) { return !(r > 0); }))
        row.assign(Quantity::kUpdateRatio, static_cast<const float*>(nullptr), 0);
    }
    update_expected_ = false;
    diagnoser_->observe(run_, row);
    report_findings(row);
    writer_->append(run_, row);
    ++recorded_steps_;
    bytes_ += hooks::row_bytes(run_);
    if (schedule_.observe_bytes(bytes_)) note_schedule(row.step, "the file approaches its size limit");
    if (const WriterStatus written = writer_->status(); written.state == WriterState::kFailed)
      throw IoError(written.error);
    spare_ = std::move(row);
  }

  void report_findings(StepRecord& row) {
    for (const Finding& finding : diagnoser_->new_findings()) {
      const std::string& subject = finding.subject.name.empty() ? finding.subject.module : finding.subject.name;
      row.events.push_back({row.step, "finding", subject,
                            fmt::format("{} {}: {}", name(finding.severity), finding.rule, finding.message)});
      messenger_.finding(finding, path_);
      if (!callback_) continue;
      try {
        callback_(finding);
      } catch (...) {
        callback_ = nullptr;
        messenger_.callback_dropped();
      }
    }
  }

  void weigh_cost(double in_step) {
    if (!weigh_) return;
    weigh_ = false;
    if (schedule_.observe_cost(steps_, in_step + capture_seconds_, step_seconds_))
      note_schedule(steps_, "recording costs more than its budget");
  }

  void note_schedule(std::int64_t step, const char* reason) {
    writer_->append(Event{step, "schedule", "",
                          fmt::format("{}: every {}th step is recorded from now on", reason, schedule_.interval(step))});
  }

  MonitorOptions options_;
  hooks::Messenger messenger_;
  hooks::Schedule schedule_;
  torch::optim::Optimizer* optimizer_;
  hooks::GradientClipping clipping_;
  std::shared_ptr<hooks::UpdateWatch> watch_;  ///< Of every step in automatic mode, else of those that are recorded.
  std::unique_ptr<hooks::AccumulationHooks> accumulation_hooks_;
  hooks::StepDoubts doubts_;
  std::optional<hooks::WatchedParameters> parameters_;
  std::shared_ptr<const std::vector<std::string>> modules_;
  std::optional<hooks::ParameterRecorder> parameter_recorder_;
  hooks::ActivationRecorder activation_recorder_;
  hooks::LossWatch loss_watch_;
  std::string first_module_;
  Run run_;
  std::optional<Diagnoser> diagnoser_;
  std::optional<RunWriter> writer_;
  std::function<void(const Finding&)> callback_;
  std::shared_ptr<hooks::StepCapture> capture_;  ///< Of the step in progress, if it is recorded.
  std::optional<StepRecord> pending_;            ///< The last step, until its update can be measured.
  std::optional<StepRecord> early_;              ///< Of the step in progress: its gradients, before they were changed.
  StepRecord spare_;
  std::map<std::string, double> named_;
  std::filesystem::path path_;
  std::string error_;
  MonitorState state_ = MonitorState::kRecording;
  Clock::time_point created_;
  Clock::time_point last_return_;
  std::int64_t steps_;  ///< Of the step in progress.
  std::int64_t recorded_steps_ = 0;
  std::size_t bytes_ = 0;
  double own_seconds_ = 0;
  double step_seconds_ = 0;
  double capture_seconds_ = 0;
  bool update_expected_ = false;
  bool weigh_ = false;
};

Monitor::Monitor(torch::nn::Module& module, std::filesystem::path path, MonitorOptions options)
    : impl_(std::make_unique<Impl>(hooks::parameters_of(module), nullptr, path, std::move(options))) {}

Monitor::Monitor(torch::nn::Module& module, torch::optim::Optimizer& optimizer, std::filesystem::path path,
                 MonitorOptions options)
    : impl_(std::make_unique<Impl>(hooks::parameters_of(module), &optimizer, path, std::move(options))) {}

Monitor::Monitor(const NamedTensors& parameters, std::filesystem::path path, MonitorOptions options)
    : impl_(std::make_unique<Impl>(parameters, nullptr, path, std::move(options))) {}

Monitor::Monitor(const NamedTensors& parameters, torch::optim::Optimizer& optimizer, std::filesystem::path path,
                 MonitorOptions options)
    : impl_(std::make_unique<Impl>(parameters, &optimizer, path, std::move(options))) {}

Monitor::~Monitor() = default;
Monitor::Monitor(Monitor&&) noexcept = default;
Monitor& Monitor::operator=(Monitor&&) noexcept = default;

void Monitor::step(const at::Tensor& loss) noexcept { impl_->step(loss); }
double Monitor::clip_grad_norm(double max_norm) noexcept { return impl_->clip_grad_norm(max_norm); }
void Monitor::record(const std::string& name, double value) noexcept { impl_->record(name, value); }
void Monitor::tap(const std::string& name, const at::Tensor& tensor) noexcept { impl_->tap(name, tensor); }
void Monitor::on_finding(std::function<void(const Finding&)> callback) { impl_->on_finding(std::move(callback)); }
Diagnosis Monitor::diagnosis() const { return impl_->diagnosis(); }
MonitorStatus Monitor::status() const { return impl_->status(); }
void Monitor::close() { impl_->close(); }

}  // namespace gradhealth
