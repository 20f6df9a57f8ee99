#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <map>
#include <optional>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <fmt/format.h>

#include <gradhealth/errors.h>
#include <gradhealth/hooks.h>

#include "hooks/activation_recorder.h"
#include "hooks/loss_watch.h"
#include "hooks/messenger.h"
#include "hooks/observer.h"
#include "hooks/optimizer_info.h"
#include "hooks/origin_finder.h"
#include "hooks/parameter_recorder.h"
#include "hooks/run_description.h"
#include "hooks/schedule.h"
#include "hooks/step_capture.h"
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
}

hooks::ScheduleOptions schedule_options(const MonitorOptions& options) {
  const char* ci = std::getenv("CI");
  const bool in_ci = ci && *ci;
  return {options.every, in_ci ? 0 : options.budget, options.max_file_bytes};
}

}  // namespace

class Monitor::Impl {
 public:
  Impl(const NamedTensors& parameters, const NamedTensors& buffers, torch::optim::Optimizer* optimizer,
       const std::filesystem::path& path, MonitorOptions options)
      : options_((check(options), std::move(options))),
        messenger_(options_.messages),
        schedule_(schedule_options(options_)),
        optimizer_(optimizer) {
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
    origin_.emplace(*parameters_, buffers, options_.origin);
    if (!on_cpu()) return;
    const std::filesystem::path file = hooks::run_file_path(path, options_.name);
    WriterOptions writer_options;
    writer_options.if_exists = options_.if_exists;
    writer_.emplace(file, run_, writer_options);
    path_ = writer_->status().path;
    if (path_ != file) messenger_.taken_path(file, path_);
    begin_step(0);
    last_return_ = created_ = Clock::now();
  }

  ~Impl() {
    try {
      close();
    } catch (...) {  // close() is the call that can tell.
    }
  }

  void step(const at::Tensor& loss) noexcept {
    if (hooks::replaying()) return;  // The closure given to replay() computes the loss, and no more.
    guarded([&] {
      const Clock::time_point start = Clock::now();
      end_step(loss, start);
      last_return_ = Clock::now();
      own_seconds_ += seconds(last_return_ - start);
      weigh_cost(seconds(last_return_ - start));
    });
    ++steps_;
  }

  void record(const std::string& name, double value) noexcept {
    guarded([&] { named_[name] = value; });
  }

  void tap(const std::string& name, const at::Tensor& tensor) noexcept {
    guarded([&] {
      if (!capture_ || hooks::replaying() || !hooks::readable(tensor)) return;
      const at::NoGradGuard no_grad;
      const at::DisableRecordFunctionGuard no_record;
      capture_->tap(name, tensor);
    });
  }

  void replay(std::function<at::Tensor()> closure) noexcept {
    guarded([&] { origin_->set_replay(std::move(closure)); });
  }

  void on_finding(std::function<void(const Finding&)> callback) { callback_ = std::move(callback); }

  Diagnosis diagnosis() const { return diagnoser_ ? diagnoser_->diagnosis() : Diagnosis{}; }

  MonitorStatus status() const {
    MonitorStatus status;
    status.state = state_;
    status.path = path_;
    status.steps = steps_;
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

  void begin_step(std::int64_t step) {
    using Kind = hooks::OriginFinder::StepKind;
    const bool recorded = schedule_.records(step);
    origin_->begin_step(step, recorded ? Kind::kRecorded : Kind::kBetween);
    if (!recorded) return;
    capture_ = std::make_shared<hooks::StepCapture>(parameters_->table(), modules_, first_module_);
    hooks::observe(capture_);
  }

  void stop_capture() noexcept {
    if (origin_) origin_->stop();
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
    if (pending_) finish_pending(Ending::kNextStep);
    const double value = hooks::loss_value(loss);
    const bool has_loss = loss.defined() && loss.numel() == 1;
    bool suspicious = has_loss && loss_watch_.suspicious(value);
    if (!capture) suspicious |= !parameter_recorder_->gradient_sample_is_finite();
    suspicious |= origin_->gradient_is_bad();
    if (suspicious) schedule_.suspect(steps_);
    if (suspicious) origin_->suspect(steps_);
    if (!capture && !suspicious && named_.empty()) return begin_step(steps_ + 1);

    StepRecord row = std::move(spare_);
    row.clear();
    row.step = steps_;
    row.wall_time = seconds(start - created_);
    if (has_loss) {
      row.set(Quantity::kLoss, value);
      row.set(Quantity::kLossNonfinite, std::isfinite(value) ? 0 : 1);
    }
    step_seconds_ = seconds(start - last_return_) - origin_->traced_seconds();
    own_seconds_ += origin_->traced_seconds();
    if (capture) {
      hooks::stop_observing(capture);
      if (const std::string error = capture->error(); !error.empty()) throw std::runtime_error(error);
      activation_recorder_.record(capture->finish(), run_, row);
      first_module_ = capture->first_module();
      capture_seconds_ = capture->own_seconds();
      own_seconds_ += capture_seconds_;
      step_seconds_ -= capture_seconds_;
    }
    if (capture || suspicious) {
      if (!on_cpu()) return;
      parameter_recorder_->record(row);
      origin_->report(row, loss);
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
  std::optional<hooks::WatchedParameters> parameters_;
  std::shared_ptr<const std::vector<std::string>> modules_;
  std::optional<hooks::ParameterRecorder> parameter_recorder_;
  hooks::ActivationRecorder activation_recorder_;
  hooks::LossWatch loss_watch_;
  std::optional<hooks::OriginFinder> origin_;
  std::string first_module_;
  Run run_;
  std::optional<Diagnoser> diagnoser_;
  std::optional<RunWriter> writer_;
  std::function<void(const Finding&)> callback_;
  std::shared_ptr<hooks::StepCapture> capture_;  ///< Of the step in progress, if it is recorded.
  std::optional<StepRecord> pending_;            ///< The last step, until its update can be measured.
  StepRecord spare_;
  std::map<std::string, double> named_;
  std::filesystem::path path_;
  std::string error_;
  MonitorState state_ = MonitorState::kRecording;
  Clock::time_point created_;
  Clock::time_point last_return_;
  std::int64_t steps_ = 0;
  std::int64_t recorded_steps_ = 0;
  std::size_t bytes_ = 0;
  double own_seconds_ = 0;
  double step_seconds_ = 0;
  double capture_seconds_ = 0;
  bool update_expected_ = false;
  bool weigh_ = false;
};

Monitor::Monitor(torch::nn::Module& module, std::filesystem::path path, MonitorOptions options)
    : impl_(std::make_unique<Impl>(hooks::parameters_of(module), hooks::buffers_of(module), nullptr, path,
                                   std::move(options))) {}

Monitor::Monitor(torch::nn::Module& module, torch::optim::Optimizer& optimizer, std::filesystem::path path,
                 MonitorOptions options)
    : impl_(std::make_unique<Impl>(hooks::parameters_of(module), hooks::buffers_of(module), &optimizer, path,
                                   std::move(options))) {}

Monitor::Monitor(const NamedTensors& parameters, std::filesystem::path path, MonitorOptions options)
    : impl_(std::make_unique<Impl>(parameters, NamedTensors{}, nullptr, path, std::move(options))) {}

Monitor::Monitor(const NamedTensors& parameters, torch::optim::Optimizer& optimizer, std::filesystem::path path,
                 MonitorOptions options)
    : impl_(std::make_unique<Impl>(parameters, NamedTensors{}, &optimizer, path, std::move(options))) {}

Monitor::~Monitor() = default;
Monitor::Monitor(Monitor&&) noexcept = default;
Monitor& Monitor::operator=(Monitor&&) noexcept = default;

void Monitor::step(const at::Tensor& loss) noexcept { impl_->step(loss); }
void Monitor::record(const std::string& name, double value) noexcept { impl_->record(name, value); }
void Monitor::tap(const std::string& name, const at::Tensor& tensor) noexcept { impl_->tap(name, tensor); }
void Monitor::replay(std::function<at::Tensor()> closure) noexcept { impl_->replay(std::move(closure)); }
void Monitor::on_finding(std::function<void(const Finding&)> callback) { impl_->on_finding(std::move(callback)); }
Diagnosis Monitor::diagnosis() const { return impl_->diagnosis(); }
MonitorStatus Monitor::status() const { return impl_->status(); }
void Monitor::close() { impl_->close(); }

}  // namespace gradhealth
