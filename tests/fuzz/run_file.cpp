// Bytes as a run file: read, judged by every rule, exported, recovered. Errors of the library's own are what is
// allowed.
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <gradhealth/errors.h>
#include <gradhealth/export.h>
#include <gradhealth/report.h>
#include <gradhealth/rules.h>
#include <gradhealth/run_file.h>

#include "fuzz/require.h"
#include "hostile/outputs.h"

namespace {

using namespace gradhealth;

/// One file for each process: HDF5 wants a path that leads somewhere, so that memory alone does not do.
std::filesystem::path own_path(const char* name) {
  return std::filesystem::temp_directory_path() / ("gradhealth-fuzz-" + std::to_string(::getpid()) + name);
}

/// Without the diagnosis, whose table of causes takes longer to build than everything here.
void judge(const RunReader& reader) {
  std::vector<std::unique_ptr<Judge>> judges;
  for (const Rule& rule : catalogue()) {
    RuleOptions options;
    for (const OptionInfo& option : rule.info.options) options[option.name] = option.default_value;
    judges.push_back(rule.make_judge(options));
  }
  PlotCollector plots(64);
  reader.for_each_step([&](const StepRecord& record) {
    for (const std::unique_ptr<Judge>& each : judges) each->observe(reader.run(), record);
    plots.observe(reader.run(), record);
  });
  Report report;
  report.models.push_back({reader.run(), {}, plots.plots(), true});
  for (const std::unique_ptr<Judge>& each : judges) {
    const Outcome outcome = each->outcome();
    if (const auto* unhealthy = std::get_if<Unhealthy>(&outcome))
      for (const Finding& finding : unhealthy->findings) report.models[0].diagnosis.roots.push_back({finding, {}});
  }
  std::ostringstream page, json;
  write_html(page, report);
  write_json(json, report);
  fuzz::require_nothing(hostile::wrong_html(page.str()));
  fuzz::require_nothing(hostile::wrong_json(json.str()));
}

void export_all(const RunReader& reader) {
  const ExportedRun run{reader.run().info.name, &reader.run(), [&](const auto& visit) { reader.for_each_step(visit); }};
  std::ostringstream wide, lines, events, board;
  write_csv_wide(wide, {run});
  write_csv_long(lines, {run});
  write_csv_events(events, {run});
  write_tensorboard(board, run);
  for (const std::ostringstream* csv : {&wide, &lines, &events}) fuzz::require_nothing(hostile::wrong_csv(csv->str()));
}

void recover_it(const std::filesystem::path& path) {
  static const std::filesystem::path fixed = own_path("-fixed.h5");
  std::filesystem::remove(fixed);
  recover(path, fixed);
  const RunReader reader(fixed);
  reader.for_each_step([](const StepRecord&) {});
}

template <typename Work>
void allow_complaints(const Work& work) {
  try {
    work();
  } catch (const FormatError&) {
  } catch (const IoError&) {
  } catch (const UsageError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path path = own_path(".h5");
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  allow_complaints([&] {
    const RunReader reader(path);
    judge(reader);
    export_all(reader);
  });
  allow_complaints([&] { recover_it(path); });
  return 0;
}
