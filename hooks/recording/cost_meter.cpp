#include "hooks/recording/cost_meter.h"

#include <utility>

namespace gradhealth::hooks {
namespace {

double seconds(std::chrono::steady_clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

void CostMeter::begin_run() { created_ = end_ = last_return_ = Clock::now(); }

void CostMeter::step_ends() { end_ = Clock::now(); }

double CostMeter::wall_time() const { return seconds(end_ - created_); }

void CostMeter::add_probe(double cost, Probe probe) {
  own_ += cost;
  probing_ += cost;
  if (probe == Probe::kDue) due_probe_ = cost;
}

void CostMeter::settle(std::optional<double> capturing, double tracing) {
  own_ += capturing.value_or(0) + tracing;
  bare_step_ = seconds(end_ - last_return_) - capturing.value_or(0) - tracing - std::exchange(probing_, 0);
  capturing_ = capturing;
}

std::optional<double> CostMeter::step_returns(std::int64_t probe_every) {
  last_return_ = Clock::now();
  const double in_step = seconds(last_return_ - end_);
  own_ += in_step;
  const std::optional<double> capturing = std::exchange(capturing_, std::nullopt);
  if (!capturing) return std::nullopt;
  // A probe that is due every N recorded steps costs each of them its share; one that was asked for is the trainer's.
  return in_step + *capturing + (probe_every > 0 ? due_probe_ / static_cast<double>(probe_every) : 0);
}

}  // namespace gradhealth::hooks
