#include "hooks/origin/origin_finder.h"

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>

#include "hooks/origin/origin.h"
#include "hooks/steps/schedule.h"

namespace gradhealth::hooks {
namespace {

constexpr int kMostReports = 3;
constexpr int kMostReplays = 3;

std::shared_ptr<const ModelState> model_state(const WatchedParameters& parameters, const NamedTensors& buffers) {
  auto state = std::make_shared<ModelState>();
  state->tensors = parameters.all();
  state->parameters = state->tensors.size();
  for (const auto& [name, tensor] : buffers) {
    if (!tensor.defined()) continue;
    const auto dot = name.rfind('.');
    state->tensors.push_back({name, dot == std::string::npos ? "" : name.substr(0, dot), tensor});
  }
  return state;
}

std::vector<at::Tensor> tensors_of(const WatchedParameters& parameters) {
  std::vector<at::Tensor> tensors;
  for (const WatchedParameter& parameter : parameters.all()) tensors.push_back(parameter.tensor);
  return tensors;
}

std::vector<at::Tensor> tensors_of(const NamedTensors& named) {
  std::vector<at::Tensor> tensors;
  for (const auto& item : named) tensors.push_back(item.second);
  return tensors;
}

/// As far as it is known at once: what a device still owes may come when the step can no longer be replayed.
bool is_bad(const StepRecord& row, const ParameterReadings& parameters) {
  return row.at(Quantity::kLossNonfinite) > 0 ||
         std::any_of(parameters.all.begin(), parameters.all.end(), [](const ParameterReadings::One& parameter) {
           return parameter.gradient && parameter.gradient->nonfinite > 0;
         });
}

}  // namespace

OriginFinder::OriginFinder(const WatchedParameters& parameters, const NamedTensors& buffers,
                           const MonitorOptions& options)
    : search_(options.origin),
      model_(model_state(parameters, buffers)),
      replay_(tensors_of(parameters), tensors_of(buffers)),
      armed_until_(options.first_step + kDenseStart) {}

bool OriginFinder::done() const { return search_ == OriginSearch::kNever || reports_ >= kMostReports || broken_; }

void OriginFinder::begin_step(std::int64_t step, StepKind kind) {
  stop();
  recorder_.reset();
  if (done()) return;
  if (replay_) replay_.remember_random_state();
  const bool armed = step < armed_until_ || (search_ == OriginSearch::kRecordedSteps && kind == StepKind::kRecorded);
  if (!armed) return;
  // Elsewhere, looking at every operator's result would wait for the device as often.
  const bool on_cpu = std::all_of(model_->tensors.begin(), model_->tensors.end(),
                                  [](const WatchedParameter& p) { return p.tensor.device().is_cpu(); });
  if (!on_cpu) return;
  recorder_ = std::make_shared<FlightRecorder>(model_);
  trace_.emplace(recorder_);
}

void OriginFinder::stop() { trace_.reset(); }

void OriginFinder::suspect(std::int64_t step) {
  if (step < next_suspicion_) return;
  armed_until_ = std::max(armed_until_, step + 1 + kSuspicionSteps);
  next_suspicion_ = step + kSuspicionPause;
}

bool OriginFinder::gradient_is_bad() const { return recorder_ && recorder_->gradient_is_bad(); }

void OriginFinder::report(StepRecord& row, const ParameterReadings& parameters, const at::Tensor& loss) {
  if (done()) return;
  if (recorder_)
    if (const std::string error = recorder_->error(); !error.empty()) return give_up(row, error);
  if (!is_bad(row, parameters) && !gradient_is_bad()) {
    bad_since_ = -1;
    told_ = false;
    return;
  }
  if (bad_since_ < 0) bad_since_ = row.step;
  if (told_) return;
  Circumstances circumstances;
  circumstances.step = row.step;
  circumstances.since = bad_since_;
  std::optional<Origin> origin;
  if (recorder_) {
    origin = recorder_->origin(loss);
    if (bad_since_ < row.step) circumstances.how = Circumstances::How::kLate;
  } else if (replay_ && replays_ < kMostReplays) {
    circumstances.how = Circumstances::How::kReplayed;
    origin = replay(row);
  } else {
    return;  // The next steps are traced.
  }
  told_ = true;
  ++reports_;
  for (Event& event : events_of(origin.value_or(Origin{}), circumstances)) row.events.push_back(std::move(event));
}

std::optional<Origin> OriginFinder::replay(StepRecord& row) {
  ++replays_;
  const auto recorder = std::make_shared<FlightRecorder>(model_);
  std::optional<Origin> origin;
  std::string error;
  try {
    const ReplayTrace trace(recorder);
    replay_.run([&](const at::Tensor& loss) {
      origin = recorder->origin(loss);
      if (!origin) replay_.differentiate(loss);
      if (!origin) origin = recorder->origin(loss);
    });
  } catch (const std::exception& thrown) {
    error = thrown.what();
  } catch (...) {
    error = "an unknown exception";
  }
  if (!error.empty()) row.events.push_back({row.step, "replay", "", "the closure given to replay() threw: " + error});
  return origin;
}

void OriginFinder::give_up(StepRecord& row, const std::string& error) {
  broken_ = true;
  row.events.push_back({row.step, "monitor", "", "operators are not traced any more: " + error});
}

void OriginFinder::set_replay(std::function<at::Tensor()> closure) {
  if (!done()) replay_.set(std::move(closure));
}

}  // namespace gradhealth::hooks
