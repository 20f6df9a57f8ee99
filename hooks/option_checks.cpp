#include "hooks/option_checks.h"

#include <cstdlib>
#include <string_view>

#include <fmt/format.h>

#include <gradhealth/errors.h>

namespace gradhealth::hooks {

void check(const MonitorOptions& options) {
  if (options.every < 0) throw UsageError(fmt::format("MonitorOptions::every is {}; it counts steps", options.every));
  if (options.probe_every < 0)
    throw UsageError(fmt::format("MonitorOptions::probe_every is {}; it counts recorded steps", options.probe_every));
  if (!(options.budget >= 0 && options.budget <= 1))
    throw UsageError(
        fmt::format("MonitorOptions::budget is {}; it is a share of the training time, 0 to 1", options.budget));
  if (options.first_step < 0)
    throw UsageError(fmt::format("MonitorOptions::first_step is {}; steps count from 0", options.first_step));
  const Ranks& ranks = options.ranks;
  if (ranks.world_size < 0 || ranks.rank < 0 || (ranks.world_size > 0 && ranks.rank >= ranks.world_size) ||
      (ranks.world_size == 0 && (ranks.rank != 0 || ranks.exchange)))
    throw UsageError(fmt::format("MonitorOptions::ranks is rank {} of {}; ranks count from 0", ranks.rank,
                                 ranks.world_size));
  const Interventions& wanted = options.interventions;
  if (!(wanted.clip_percentile >= 0 && wanted.clip_percentile <= 1))
    throw UsageError(fmt::format("Interventions::clip_percentile is {}; it is a share of the steps, 0 to 1",
                                 wanted.clip_percentile));
  if (wanted.keep_healthy_every < 0)
    throw UsageError(
        fmt::format("Interventions::keep_healthy_every is {}; it counts steps", wanted.keep_healthy_every));
  const bool any = wanted.stop || wanted.clip_percentile > 0 || wanted.keep_healthy_every > 0;
  if (any && options.step == StepMode::kAutomatic)
    throw UsageError("interventions need calls of step(): automatic steps are found when the update has begun");
}

ScheduleOptions schedule_options(const MonitorOptions& options) {
  const char* ci = std::getenv("CI");
  const bool in_ci = ci && *ci;
  // Ranks record the same steps, however fast each of them is.
  const bool fixed = in_ci || options.ranks.world_size > 1;
  return {options.every, fixed ? 0 : options.budget, options.max_file_bytes, options.first_step,
          options.statistics == Statistics::kExact};
}

bool switched_off() {
  const char* set = std::getenv("GRADHEALTH");
  return set && std::string_view(set) == "off";
}

}  // namespace gradhealth::hooks
