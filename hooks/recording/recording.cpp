#include "hooks/recording/recording.h"

#include <chrono>
#include <cmath>
#include <stdexcept>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <fmt/format.h>

#include "hooks/capture/observer.h"
#include "hooks/muted.h"
#include "hooks/optimizer_info.h"
#include "hooks/option_checks.h"
#include "hooks/run_description.h"
#include "hooks/statistics/reading.h"
#include "hooks/steps/update_observer.h"
#include "hooks/unobserved.h"

namespace gradhealth::hooks {

Recording::Recording(const NamedTensors& parameters, const NamedTensors& buffers,
                     std::weak_ptr<torch::nn::Module> module, torch::optim::Optimizer* optimizer,
                     const MonitorOptions& options, Messenger& messenger)
    : options_(options),
      messenger_(messenger),
      optimizer_(optimizer),
      parameters_(parameters),
      parameter_recorder_(parameters_, run_,
                          options.ranks.world_size > 1 ? ParameterRecorder::Fingerprints::kTaken
                                                       : ParameterRecorder::Fingerprints::kNone),
      output_(options.diagnosis, options.rules.empty() ? catalogue() : options.rules),
      schedule_(schedule_options(options)),
      plan_(options),
      vital_signs_(parameters_),
      state_watch_(buffers, optimizer),
      origin_(parameters_, buffers, options),
      prober_(parameters_),
      stranger_watch_(std::move(module)),
      completion_(run_, parameter_recorder_, loss_watch_),
      step_(options.first_step) {
  run_.info = describe_run(options, optimizer);
  if (!options.ranks.exchange || options.ranks.world_size < 2) return;
  if (options.ranks.rank == 0) announce_ranks(options.ranks.world_size, run_);
  ranks_.emplace(
      options.ranks, parameters_.all().size(), options.first_step,
      [this](std::int64_t step) { return schedule_.is_common(step); }, [this](StepRecord& row) { take(row); },
      [this](const std::string& reason) { note_ranks(reason); });
}

void Recording::open(const std::filesystem::path& file, UpdateWatch::Tell tell) {
  if (options_.first_step > 0) {  // The run goes on in a further file, if there is one already.
    run_.info.first_step = options_.first_step;
    if (const auto last = latest_part(file)) run_.info.continues = last->filename().string();
  }
  output_.open(file, run_, options_);
  watch_ = std::make_shared<UpdateWatch>(parameters_, std::move(tell));
  accumulation_hooks_ = std::make_unique<AccumulationHooks>(
      [carried = carried_](std::size_t parameter, const at::Tensor& gradient) {
        carried->before_accumulation(parameter, gradient);
      },
      [watch = std::weak_ptr<UpdateWatch>(watch_)] {
        if (const auto alive = watch.lock()) note_accumulation(alive);
      });
  begin_step(step_);
  cost_.begin_run();
}

void Recording::check_devices() const {
  const std::string foreign = parameter_recorder_.foreign_device();
  if (!foreign.empty())
    throw std::runtime_error(foreign + ", and this version records models on the CPU and on CUDA devices only");
}

void Recording::begin_step(std::int64_t step) {
  step_ = step;
  forget_gradients();
  leaves_out_ = false;
  if (stopped_) return;  // By a callback, from within the step that has just ended.
  bool recorded = schedule_.records(step);
  leaves_out_ = recorded && queue_.full();
  recorded &= !leaves_out_;
  using Kind = OriginFinder::StepKind;
  origin_.begin_step(step, recorded ? Kind::kRecorded : Kind::kBetween);
  if (recorded || automatic()) {
    carried_->begin(parameters_.all().size());
    accumulation_hooks_->attach(parameters_.all());
    watch_->begin_step(parameters_.table());
    if (!automatic()) watch_->follow_order();
    watch_updates(watch_);
  } else {
    stop_watching_updates(watch_);
  }
  if (!recorded) return;
  capture_ = std::make_shared<StepCapture>(parameters_.table(), parameters_.list(), first_module_);
  if (!schedule_.exact(step)) capture_->sample({kSampledElements, static_cast<std::uint64_t>(step)});
  plan_.prepare(*capture_, step);
  if (completion_.loss_is_named()) capture_->compare_named_only();
  observe(capture_);
}

void Recording::end_step(const at::Tensor& tensor) {
  const at::NoGradGuard no_grad;
  const Muted muted;
  cost_.step_ends();
  const std::shared_ptr<StepCapture> capture = std::exchange(capture_, nullptr);
  origin_.stop();
  left_out_ += leaves_out_;
  read_update(Ending::kNextStep);
  deliver(Waiting::kNone);
  Loss loss;
  loss.late = is_late_loss(tensor);
  if (!loss.late && tensor.defined() && tensor.numel() == 1) loss.value = loss_value(tensor);
  const bool recorded = is_suspicious(loss, capture != nullptr) || capture;
  const bool watched = !recorded && (loss.late || parameter_recorder_.gradient_sample_is_late()) && !queue_.full();
  if (!recorded && !watched && named_.empty()) return begin_step(step_ + 1);

  // Not before: it would be half of what the other steps cost.
  const at::DisableRecordFunctionGuard no_record;
  Seen seen;
  if (capture) seen = take(capture);
  if (recorded && !early_) read_gradients(capture);
  const std::optional<double> capturing = seen.capturing;
  StepInFlight& step = fill(std::move(seen), loss, tensor, capture);
  if (watched && named_.empty()) step.purpose = StepInFlight::Purpose::kWatch;
  if (recorded) record_state(step, tensor);
  cost_.settle(capturing, origin_.traced_seconds());
  probed_ = false;
  if (watched) step.late_gradient_sample = parameter_recorder_.late_gradient_sample(*step.readback);
  step.readback->start();
  step.row.set(Quantity::kStepTime, cost_.bare_step());
  if (optimizer_)
    if (const std::optional<double> rate = learning_rate(*optimizer_)) step.row.set(Quantity::kLearningRate, *rate);
  named_.record(run_, step.row);
  deliver(Waiting::kNone);
  begin_step(step_ + 1);
}

/// @param captured whether the step is recorded anyway, so that nothing else has to look at its gradients.
bool Recording::is_suspicious(const Loss& loss, bool captured) {
  bool suspicious = loss.value && loss_watch_.suspicious(*loss.value);
  if (!captured) suspicious |= early_ || vital_signs_.suspicious();
  suspicious |= origin_.gradient_is_bad();
  if (suspicious) schedule_.suspect(step_);
  if (loss.value && !std::isfinite(*loss.value)) schedule_.search(step_);
  if (suspicious) origin_.suspect(step_);
  return suspicious;
}

Recording::Seen Recording::take(const std::shared_ptr<StepCapture>& capture) {
  plan_.step_captured();
  stop_observing(capture);
  if (const std::string error = capture->error(); !error.empty()) throw std::runtime_error(error);
  Seen seen;
  seen.calls = capture->finish();
  seen.facts = capture->take_facts();
  seen.graphs_alive = graph_watch_.observe(seen.calls);
  first_module_ = capture->first_module();
  seen.events = meet_strangers(*capture);
  seen.capturing = capture->own_seconds();
  return seen;
}

StepInFlight& Recording::fill(Seen&& seen, const Loss& loss, const at::Tensor& tensor,
                              const std::shared_ptr<StepCapture>& capture) {
  StepInFlight& step = add_step(capture);
  if (loss.value) set_loss(*loss.value, step.row);
  if (seen.graphs_alive) step.row.set(Quantity::kGraphsAlive, *seen.graphs_alive);
  if (const std::optional<double> share = capture ? carried_->share() : std::nullopt)
    step.row.set(Quantity::kCarriedGradients, *share);
  if (loss.late) step.late_loss = late_values(tensor, *step.readback);
  step.calls = std::move(seen.calls);
  step.facts = std::move(seen.facts);
  step.row.events.insert(step.row.events.end(), seen.events.begin(), seen.events.end());
  for (const std::string& pattern : watch_->take_order_patterns())
    step.row.events.push_back({step_, "loop-order", "", "pattern=" + pattern});
  return step;
}

/// What an update will use beside the gradients, and what the trace and the probes of the step have found.
void Recording::record_state(StepInFlight& step, const at::Tensor& loss) {
  state_watch_.record(parameters_, schedule_.exact(step_) ? StateWatch::Detail::kAll : StateWatch::Detail::kSmall,
                      step.row);
  origin_.report(step.row, step.parameters, loss);
  prober_.record(step.row);
}

StepInFlight& Recording::add_step(const std::shared_ptr<StepCapture>& capture) {
  StepInFlight& step = queue_.push(early_ ? std::move(*early_) : queue_.fresh(capture ? capture->readback() : nullptr));
  early_.reset();
  step.row.step = step_;
  step.row.wall_time = cost_.wall_time();
  return step;
}

/// Parameters and gradients of the step in progress, before anything changes them.
/// @param capture of that step; null if it is not recorded otherwise.
void Recording::read_gradients(const std::shared_ptr<StepCapture>& capture) {
  const auto start = std::chrono::steady_clock::now();
  const Unobserved unobserved;
  check_devices();
  read_update(Ending::kNextStep);
  deliver(Waiting::kNone);
  early_ = queue_.fresh(capture ? capture->readback() : nullptr);
  using Weights = ParameterRecorder::Weights;
  parameter_recorder_.read(early_->parameters, schedule_.exact(step_) ? Weights::kWhole : Weights::kSampled,
                           *early_->readback);
  early_->has_parameters = true;
  if (const std::optional<int> stage = watch_->gradient_stage()) early_->row.set(Quantity::kGradientStage, *stage);
  // Otherwise the end of the step counts it.
  if (capture_) capture_->add_time((std::chrono::steady_clock::now() - start).count());
}

void Recording::forget_gradients() {
  if (!early_) return;
  queue_.discard(std::move(*early_));
  early_.reset();
}

void Recording::on_moment(Moment moment) {
  if (moment == Moment::kFailed) throw std::runtime_error("the gradients could not be followed");
  if (moment == Moment::kGradientsChange) {
    if (!automatic() || early_) return;
    if (capture_ || vital_signs_.suspicious()) read_gradients(capture_);
    return;
  }
  forget_gradients();
  if (moment == Moment::kGradientsGrow) return;
  if (capture_) capture_->forget_gradients();
  carried_->begin(parameters_.all().size());
  if (automatic() && moment == Moment::kLikelyPassedThrough) note_doubt(Doubt::kLikelyPassedThrough);
}

void Recording::note_doubts_of_update(Moment moment) {
  if (moment == Moment::kUpdateSkipped) note_doubt(Doubt::kUpdateSkipped);
  if (moment == Moment::kUpdateSkipped && capture_) schedule_.note_skipped_update(step_);
  if (!watch_->loss().defined()) note_doubt(Doubt::kLossUnknown);
  if (watch_->updates_take_turns()) note_doubt(Doubt::kUpdatesTakeTurns);
}

void Recording::note_doubt(Doubt doubt) {
  if (!doubts_.is_to_be_told(doubt)) return;
  const std::string what = text(doubt);
  output_.note({step_, "automatic-step", "", what});
  if (doubt == Doubt::kStepCalled) messenger_.usage(what);
}

void Recording::before_clipping() {
  settle_backward();
  // Without a backward pass since the last step() this is clipping after it, and the update is still to come.
  if (capture_ && !early_ && watch_->update_expected()) read_gradients(capture_);
}

void Recording::note_clipping(double max_norm, const Clip& clip) {
  if (!early_) return;
  StepRecord& row = early_->row;
  const double before = row.at(Quantity::kClipFactor);
  row.set(Quantity::kClipThreshold, max_norm);
  row.set(Quantity::kClipFactor, std::isnan(before) ? clip.factor : before * clip.factor);
}

void Recording::probe(const ProbeTarget& target, const ProbeOptions& on_demand) {
  plan_.note_probe();
  const bool by_hand = target.kind == ProbeTarget::Kind::kOutput;
  const bool asked = by_hand || on_demand.singular_values || on_demand.curvature;
  // Of the backward passes of one step, the first one stands for all.
  if (!capture_ || (!by_hand && probed_) || !(asked || plan_.probe_is_due())) return;
  const auto start = std::chrono::steady_clock::now();
  const Unobserved unobserved;
  prober_.probe(*capture_, target, on_demand, step_);
  probed_ = true;
  const std::chrono::duration<double> cost = std::chrono::steady_clock::now() - start;
  cost_.add_probe(cost.count(), asked ? CostMeter::Probe::kAskedFor : CostMeter::Probe::kDue);
}

void Recording::before_foreign_change() {
  const Unobserved unobserved;
  read_update(Ending::kRunEnds);
  deliver(Waiting::kNone);
}

std::vector<Event> Recording::meet_strangers(const StepCapture& capture) {
  if (capture.strangers().empty()) return {};
  std::vector<Event> events = stranger_watch_.meet(capture.strangers(), step_, parameters_);
  parameter_recorder_.announce(run_);
  if (events.empty()) return events;
  forget_gradients();  // They were read of the parameters as they were known before.
  has_new_parameters_ = true;
  return events;
}

std::optional<NamedTensors> Recording::take_new_parameters() {
  if (!std::exchange(has_new_parameters_, false)) return std::nullopt;
  return parameters_.named();
}

void Recording::deliver(Waiting waiting) {
  queue_.deliver(
      waiting, [this](StepInFlight& step) { take_values(step); }, [this](StepInFlight& step) { finish(step); });
}

/// All of the step but what its update does.
void Recording::take_values(StepInFlight& step) {
  if (completion_.record_values(step)) schedule_.suspect(step_);
  if (!step.has_parameters) return;
  prober_.remember_weights(step.row);
  if (step.row.step == options_.first_step) first_pass_ = OnePass{run_, step.row};
}

const std::optional<OnePass>& Recording::first_pass() {
  if (!first_pass_) {
    const Unobserved unobserved;
    deliver(Waiting::kUntilReady);
  }
  return first_pass_;
}

/// Adds the effect of the update, judges the row and hands it to the file.
void Recording::finish(StepInFlight& step) {
  if (step.purpose != StepInFlight::Purpose::kRecord) return;
  completion_.record_update(step);
  ranks_ ? ranks_->add(step.row) : take(step.row);
}

void Recording::take(StepRecord& row) {
  output_.take(run_, row, messenger_);
  if (schedule_.observe_bytes(output_.bytes())) note_schedule(row.step, "the file approaches its size limit");
}

void Recording::note_ranks(const std::string& reason) {
  const std::string text = "the ranks are not compared any more: " + reason;
  output_.note({step_, "monitor", "", text});
  messenger_.usage(text);
}

void Recording::step_returns() {
  const std::optional<double> cost = cost_.step_returns(options_.probe_every);
  if (cost && schedule_.observe_cost(step_ - 1, *cost, cost_.bare_step()))
    note_schedule(step_ - 1, "recording costs more than its budget");
}

void Recording::note_schedule(std::int64_t step, const char* reason) {
  output_.note({step, "schedule", "",
                fmt::format("{}: every {}th step is recorded from now on", reason, schedule_.interval(step))});
}

void Recording::finish() {
  const Unobserved unobserved;
  if (automatic()) settle_backward();
  if (automatic() && watch_->update_is_missing()) note_doubt(Doubt::kEndedWithoutUpdate);
  stop();
  forget_gradients();
  if (!named_.empty()) {
    if (!queue_.last_is_open() || queue_.last().purpose == StepInFlight::Purpose::kWatch) {
      read_update(Ending::kRunEnds);
      cost_.step_ends();
      add_step(nullptr);
    }
    named_.record(run_, queue_.last().row);
  }
  read_update(Ending::kRunEnds);
  deliver(Waiting::kUntilReady);
  if (ranks_) ranks_->finish();
  if (left_out_ > 0)
    output_.note(
        {step_, "monitor", "", fmt::format("{} steps were not recorded: the device was too far behind", left_out_)});
}

void Recording::stop() noexcept {
  stopped_ = true;
  origin_.stop();
  try {
    if (watch_) stop_watching_updates(watch_);
  } catch (...) {  // A lock that cannot be had: it is stopped for good when the watch is gone.
  }
  if (!capture_) return;
  try {
    stop_observing(capture_);
  } catch (...) {  // Its weak references are ignored once it is gone.
  }
  capture_.reset();
}

void Recording::abandon(const std::string& error) noexcept {
  stop();
  queue_.clear();
  try {
    if (ranks_) ranks_->abandon();
  } catch (...) {  // The file takes nothing any more.
  }
  try {
    output_.note({step_, "failed", "", error});
  } catch (...) {  // Out of memory for the text.
    output_.note({step_, "failed", "", ""});
  }
}

}  // namespace gradhealth::hooks
