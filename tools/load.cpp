#include "load.h"

#include <filesystem>

#include <gradhealth/config.h>
#include <gradhealth/run_file.h>

namespace gradhealth {

namespace {

ModelReport load_model(const std::filesystem::path& file, const DiagnosisOptions& options) {
  const RunReader reader(file);
  Diagnoser diagnoser(options);
  PlotCollector plots;
  reader.for_each_step([&](const StepRecord& record) {
    diagnoser.observe(reader.run(), record);
    plots.observe(reader.run(), record);
  });
  return {reader.run(), diagnoser.diagnosis(), plots.plots(), reader.state() == RunState::kFinished};
}

}  // namespace

Report load_report(const std::string& run, const std::string& config) {
  const DiagnosisOptions options = config.empty() ? DiagnosisOptions{} : load_config(config);
  Report report;
  report.run = run;
  for (const std::filesystem::path& file : run_files(run)) report.models.push_back(load_model(file, options));
  return report;
}

}  // namespace gradhealth
