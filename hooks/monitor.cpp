#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/nn/module.h>

#include <gradhealth/errors.h>
#include <gradhealth/hooks.h>
#include <gradhealth/hooks_preflight.h>

#include "hooks/interventions/gradient_sizes.h"
#include "hooks/interventions/intervener.h"
#include "hooks/messenger.h"
#include "hooks/option_checks.h"
#include "hooks/origin/replay.h"
#include "hooks/preflight/judgement.h"
#include "hooks/preflight/preflight_rules.h"
#include "hooks/recording/recording.h"
#include "hooks/run_description.h"
#include "hooks/statistics/reading.h"
#include "hooks/steps/gradient_clipping.h"
#include "hooks/steps/update_observer.h"
#include "hooks/unobserved.h"

namespace gradhealth {

/// The wall between the training and its record: nothing that fails on the other side comes through.
class Monitor::Impl {
 public:
  Impl(const NamedTensors& parameters, const NamedTensors& buffers, std::weak_ptr<torch::nn::Module> module,
       torch::optim::Optimizer* optimizer, const std::filesystem::path& path, MonitorOptions options)
      : options_(checked(std::move(options))),
        messenger_(options_.messages),
        optimizer_(optimizer),
        clipping_(parameters),
        intervener_(options_.interventions, buffers),
        steps_(options_.first_step) {
    if (hooks::switched_off()) {
      state_ = MonitorState::kOff;
      return;
    }
    recording_ =
        std::make_unique<hooks::Recording>(parameters, buffers, std::move(module), optimizer, options_, messenger_);
    guarded([&] { recording_->check_devices(); });
    if (state_ != MonitorState::kRecording) return;
    const std::filesystem::path file = hooks::run_file_path(path, options_.name, options_.ranks);
    recording_->open(file, [this](Moment moment) { on_moment(moment); });
    path_ = recording_->output().status()->path;
    if (path_ != file) messenger_.taken_path(file, path_);
  }

  ~Impl() {
    try {
      close();
    } catch (...) {  // close() is the call that can tell.
    }
  }

  void step(const at::Tensor& loss) {
    if (hooks::replaying()) return;  // The closure given to replay() computes the loss, and no more.
    if (automatic()) return guarded([&] { recording_->note_doubt(hooks::Doubt::kStepCalled); });
    guarded([&] {
      if (recording_->capture()) hooks::settle_backward();
      clip_as_learned();
    });
    take_step(loss);
    guarded([&] { intervener_.end_step(steps_ - 1, loss, clipping_.parameters(), optimizer_, errors()); });
    if (!recording_) return;
    if (const std::optional<Finding> found = intervener_.to_throw(errors())) {
      note_intervention(steps_ - 1, "", "action=stopped rule=" + found->rule);
      throw TrainingStopped(*found);
    }
  }

  bool should_stop() const noexcept { return recording_ && intervener_.found_error(errors()); }

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
      const std::string name = recording_->name_of(clipping_.parameters()[*bad]);
      if (!name.empty()) note_intervention(steps_ - 1, name, "action=skipped");
    });
    return false;
  }

  bool roll_back() {
    if (!recording_) return false;
    guarded([&] { recording_->before_foreign_change(); });
    const std::optional<std::int64_t> step = intervener_.roll_back(errors(), optimizer_);
    if (!step) return false;
    guarded([&] { note_intervention(steps_ - 1, "", fmt::format("action=rolled-back to={}", *step)); });
    return true;
  }

  double clip_grad_norm(double max_norm) noexcept {
    guarded([&] { recording_->before_clipping(); });
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
      recording_->note_clipping(max_norm, *clip);
    });
    return clip ? clip->norm : std::numeric_limits<double>::quiet_NaN();
  }

  void record(const std::string& name, double value) noexcept {
    guarded([&] { recording_->record(name, value); });
  }

  void tap(const std::string& name, const at::Tensor& tensor) noexcept {
    show([&](hooks::StepCapture& capture) {
      if (hooks::reading_of(tensor) != hooks::Reading::kNever) capture.tap(name, tensor);
    });
  }

  void target(const at::Tensor& tensor) noexcept {
    show([&](hooks::StepCapture& capture) { capture.give_target(tensor); });
  }

  void input(const at::Tensor& tensor) noexcept {
    show([&](hooks::StepCapture& capture) { capture.give_input(tensor); });
  }

  void backward(const at::Tensor& loss, const ProbeOptions& on_demand) {
    probe({hooks::ProbeTarget::Kind::kLoss, loss}, on_demand);
    loss.backward();
  }

  void probe(const hooks::ProbeTarget& target, const ProbeOptions& on_demand) noexcept {
    guarded([&] { recording_->probe(target, on_demand); });
  }

  void replay(std::function<at::Tensor()> closure) noexcept {
    guarded([&] { recording_->set_replay(std::move(closure)); });
  }

  void on_finding(std::function<void(const Finding&)> callback) {
    if (recording_) recording_->output().on_finding(std::move(callback));
  }

  Diagnosis diagnosis() const { return recording_ ? recording_->output().diagnosis() : Diagnosis{}; }

  PreflightReport preflight() {
    const auto start = std::chrono::steady_clock::now();
    PreflightReport report;
    report.diagnosis.undecided_because = "nothing is being recorded";
    guarded([&] {
      if (const std::optional<hooks::OnePass>& pass = recording_->first_pass())
        report.diagnosis = hooks::judge(*pass, hooks::preflight_diagnoser(options_.diagnosis, rules()));
      else
        report.diagnosis.undecided_because =
            steps_ == options_.first_step ? "no step has ended yet" : "the first step was not recorded";
    });
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return report;
  }

  MonitorStatus status() const {
    MonitorStatus status;
    status.state = state_;
    status.path = path_;
    status.steps = steps_ - options_.first_step;
    status.error = error_;
    if (!recording_) return status;
    status.recorded_steps = recording_->output().rows();
    status.own_seconds = recording_->own_seconds();
    const std::optional<WriterStatus> written = recording_->output().status();
    if (!written) return status;
    status.committed_steps = written->committed_rows;
    status.dropped_steps = written->dropped_rows + recording_->left_out();
    if (status.error.empty()) status.error = written->error;
    if (written->state == WriterState::kFailed && state_ == MonitorState::kRecording)
      status.state = MonitorState::kDisabled;
    return status;
  }

  void close() {
    if (state_ == MonitorState::kClosed || state_ == MonitorState::kOff) return;
    guarded([&] { recording_->finish(); });
    if (!recording_) return;  // The constructor has thrown.
    recording_->stop();
    const bool told = state_ == MonitorState::kDisabled;
    if (!told) state_ = MonitorState::kClosed;
    try {
      recording_->output().close();
    } catch (const std::exception& error) {
      if (!told) end_incomplete(error.what());
      throw;
    }
  }

 private:
  using Moment = hooks::Recording::Moment;

  static MonitorOptions checked(MonitorOptions options) {
    hooks::check(options);
    options.ranks = hooks::effective(options.ranks);
    // What all replicas have in common is said once.
    if (options.ranks.rank > 0 && options.messages == Messages::kFindings) options.messages = Messages::kFailures;
    return options;
  }

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
      if (!recording_->capture() || hooks::replaying()) return;
      const hooks::Unobserved unobserved;
      body(*recording_->capture());
    });
  }

  /// Nothing that goes wrong here may reach the training: whatever was recorded stays, the rest is not recorded.
  void disable(const std::string& error) noexcept {
    try {
      state_ = MonitorState::kDisabled;
      recording_->abandon(error);
      error_ = error;
      messenger_.failure(error);
    } catch (...) {  // Out of memory, most likely: being disabled is all that is left.
    }
  }

  /// What was recorded last could not be written.
  void end_incomplete(const std::string& error) {
    error_ = error;
    const std::optional<WriterStatus> written = recording_->output().status();
    if (written && written->state == WriterState::kFailed) state_ = MonitorState::kDisabled;
    messenger_.incomplete(error);
  }

  const std::vector<Rule>& rules() const { return options_.rules.empty() ? catalogue() : options_.rules; }
  bool automatic() const { return options_.step == StepMode::kAutomatic; }
  /// That the rules have found so far. @pre there is a recording.
  const std::vector<Finding>& errors() const { return recording_->output().errors(); }

  void note_intervention(std::int64_t step, const std::string& subject, const std::string& text) {
    recording_->output().note({std::max(step, options_.first_step), "intervention", subject, text});
  }

  void take_step(const at::Tensor& loss) noexcept {
    guarded([&] {
      recording_->end_step(loss);
      recording_->step_returns();
      if (const auto parameters = recording_->take_new_parameters()) clipping_ = hooks::GradientClipping(*parameters);
    });
    ++steps_;
  }

  /// What has become of the gradients; called while the operator waits that makes it so.
  void on_moment(Moment moment) noexcept {
    const bool update = moment == Moment::kUpdate || moment == Moment::kUpdateSkipped;
    if (update && automatic()) {
      guarded([&] { recording_->note_doubts_of_update(moment); });
      return take_step(recording_->watched_loss());
    }
    if (moment == Moment::kUpdate) return;  // Before step() was called: a further update of the same step.
    guarded([&] { recording_->on_moment(moment); });
  }

  void clip_as_learned() {
    const auto clipping = intervener_.begin_step(steps_, clipping_.parameters());
    if (!clipping) return;
    clip_grad_norm(clipping->threshold);
    note_intervention(steps_, "",
                      fmt::format("action=clipped norm={:.6g} threshold={:.6g} percentile={}", clipping->norm,
                                  clipping->threshold, options_.interventions.clip_percentile));
  }

  MonitorOptions options_;
  hooks::Messenger messenger_;
  torch::optim::Optimizer* optimizer_;
  hooks::GradientClipping clipping_;
  hooks::Intervener intervener_;
  std::unique_ptr<hooks::Recording> recording_;  ///< Null if the environment switches everything off.
  std::filesystem::path path_;
  std::string error_;
  MonitorState state_ = MonitorState::kRecording;
  std::int64_t steps_;  ///< Of the step in progress.
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
PreflightReport Monitor::preflight() { return impl_->preflight(); }
Diagnosis Monitor::diagnosis() const { return impl_->diagnosis(); }
MonitorStatus Monitor::status() const { return impl_->status(); }
void Monitor::close() { impl_->close(); }

}  // namespace gradhealth
