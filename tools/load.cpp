#include "load.h"

#include <algorithm>

#include <fmt/format.h>

#include <gradhealth/config.h>
#include <gradhealth/run_file.h>

#include "confined.h"
#include "parts.h"
#include "progress.h"
#include "ranks.h"

namespace gradhealth {

namespace {

constexpr std::size_t kPlotColumns = 2048;
constexpr std::size_t kMostRanksApart = 4;  ///< Judged by themselves, beside the lowest one.

bool is_finished(const Parts& parts) {
  // That an earlier part's trainer died is why there is a later one.
  return parts.back().state() == RunState::kFinished;
}

std::int64_t last_step(const Parts& parts) {
  std::int64_t last = -1;
  Selection selection;
  selection.quantities = {Quantity::kLossNonfinite};
  parts.back().for_each_step(selection, [&](const StepRecord& record) { last = record.step; });
  return last;
}

std::vector<std::string> unfinished(const Ranks& ranks) {
  std::vector<std::string> names;
  if (ranks.size() < 2) return names;
  for (const Parts& parts : ranks) {
    if (is_finished(parts)) continue;
    const std::int64_t last = last_step(parts);
    names.push_back(rank_of(parts.front().run()) +
                    (last < 0 ? ", not one step" : fmt::format(", last seen at step {}", last)));
  }
  return names;
}

/// The ranks that findings are about, as they are named there, but for the lowest one.
void add_ranks(const std::vector<DiagnosedFinding>& findings, const Ranks& ranks, std::vector<std::size_t>& places) {
  for (const DiagnosedFinding& found : findings) {
    for (std::size_t i = 1; i < ranks.size(); ++i)
      if (found.finding.subject.name == fmt::format("rank {}", ranks[i].front().run().info.rank) &&
          std::find(places.begin(), places.end(), i) == places.end() && places.size() < kMostRanksApart)
        places.push_back(i);
    add_ranks(found.consequences, ranks, places);
  }
}

DiagnosisOptions options_in(const std::string& config) {
  if (config.empty()) return {};
  now_reading(config);
  return load_config(config);
}

class Loader {
 public:
  Loader(const std::string& run, const std::string& config, PlotDetail detail, std::ostream* progress)
      : options_(options_in(config)),
        detail_(detail),
        models_(grouped_by_rank(joined(run_files(run)))),
        progress_(progress, run, rows()) {}

  Report load(const std::string& run) {
    Report report;
    report.run = run;
    for (const Ranks& ranks : models_) load(ranks, report);
    return report;
  }

 private:
  std::int64_t rows() const {
    std::int64_t sum = 0;
    for (const Ranks& ranks : models_)
      for (const RunReader& part : ranks.front()) sum += part.rows();
    return sum;
  }

  template <class Joined>
  ModelReport judge(const Joined& joined) {
    Diagnoser diagnoser(options_);
    PlotCollector plots(kPlotColumns, detail_);
    joined.for_each_step([&](const StepRecord& record) {
      diagnoser.observe(joined.run(), record);
      plots.observe(joined.run(), record);
      progress_.advance();
    });
    ModelReport model;
    model.run = joined.run();
    model.diagnosis = diagnoser.diagnosis();
    model.plots = plots.plots();
    return model;
  }

  void load(const Ranks& ranks, Report& report) {
    ModelReport model = judge(RankedRun(ranks));
    model.finished = std::all_of(ranks.begin(), ranks.end(), is_finished);
    model.unfinished_ranks = unfinished(ranks);
    std::vector<std::size_t> apart;
    add_ranks(model.diagnosis.roots, ranks, apart);
    report.models.push_back(std::move(model));
    // Replicas show the same but for their data: only who stands out has a story of its own.
    for (const std::size_t place : apart) {
      JoinedRun joined(ranks[place]);
      const std::string name = joined.run().info.name;
      joined.rename(name + (name.empty() ? "" : ", ") + rank_of(joined.run()));
      ModelReport one = judge(joined);
      one.finished = is_finished(ranks[place]);
      report.models.push_back(std::move(one));
    }
  }

  DiagnosisOptions options_;
  PlotDetail detail_;
  std::vector<Ranks> models_;
  Progress progress_;
};

}  // namespace

Report load_report(const std::string& run, const std::string& config, PlotDetail detail, std::ostream* progress) {
  return Loader(run, config, detail, progress).load(run);
}

}  // namespace gradhealth
