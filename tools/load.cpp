#include "load.h"

#include <gradhealth/config.h>
#include <gradhealth/run_file.h>

#include "parts.h"

namespace gradhealth {

namespace {

ModelReport load_model(const Parts& parts, const DiagnosisOptions& options) {
  const JoinedRun joined(parts);
  Diagnoser diagnoser(options);
  PlotCollector plots;
  joined.for_each_step([&](const StepRecord& record) {
    diagnoser.observe(joined.run(), record);
    plots.observe(joined.run(), record);
  });
  // That an earlier part's trainer died is why there is a later one.
  return {joined.run(), diagnoser.diagnosis(), plots.plots(), parts.back().state() == RunState::kFinished};
}

}  // namespace

Report load_report(const std::string& run, const std::string& config) {
  const DiagnosisOptions options = config.empty() ? DiagnosisOptions{} : load_config(config);
  Report report;
  report.run = run;
  for (const Parts& parts : joined(run_files(run))) report.models.push_back(load_model(parts, options));
  return report;
}

}  // namespace gradhealth
