#include "load.h"

#include <gradhealth/config.h>
#include <gradhealth/run_file.h>

#include "confined.h"
#include "parts.h"
#include "progress.h"

namespace gradhealth {

namespace {

std::int64_t rows(const std::vector<Parts>& runs) {
  std::int64_t sum = 0;
  for (const Parts& parts : runs)
    for (const RunReader& part : parts) sum += part.rows();
  return sum;
}

constexpr std::size_t kPlotColumns = 2048;

ModelReport load_model(const Parts& parts, const DiagnosisOptions& options, PlotDetail detail, Progress& progress) {
  const JoinedRun joined(parts);
  Diagnoser diagnoser(options);
  PlotCollector plots(kPlotColumns, detail);
  joined.for_each_step([&](const StepRecord& record) {
    diagnoser.observe(joined.run(), record);
    plots.observe(joined.run(), record);
    progress.advance();
  });
  // That an earlier part's trainer died is why there is a later one.
  return {joined.run(), diagnoser.diagnosis(), plots.plots(), parts.back().state() == RunState::kFinished};
}

}  // namespace

Report load_report(const std::string& run, const std::string& config, PlotDetail detail, std::ostream* progress) {
  if (!config.empty()) now_reading(config);
  const DiagnosisOptions options = config.empty() ? DiagnosisOptions{} : load_config(config);
  const std::vector<Parts> models = joined(run_files(run));
  Progress told(progress, run, rows(models));
  Report report;
  report.run = run;
  for (const Parts& parts : models) report.models.push_back(load_model(parts, options, detail, told));
  return report;
}

}  // namespace gradhealth
