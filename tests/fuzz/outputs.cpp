// Names, texts and numbers of any kind through every writer of reports and exports: what is written stays what it is.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstdint>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gradhealth/comparison.h>
#include <gradhealth/export.h>
#include <gradhealth/report.h>

#include "fuzz/require.h"
#include "hostile/outputs.h"

namespace {

using namespace gradhealth;

std::string text(FuzzedDataProvider& data) { return data.ConsumeRandomLengthString(64); }

Subject subject(FuzzedDataProvider& data) {
  Subject all{text(data), text(data), text(data), text(data), text(data), 0};
  all.size = data.ConsumeIntegral<std::int64_t>();
  return all;
}

Finding finding(FuzzedDataProvider& data) {
  Finding one;
  one.rule = data.ConsumeBool() ? data.PickValueInArray({"dead-units", "vanishing-gradient"}) : text(data);
  one.severity = data.PickValueInArray({Severity::kInfo, Severity::kWarning, Severity::kError});
  one.confidence = data.ConsumeFloatingPoint<double>();
  one.subject = {text(data), text(data), text(data)};
  one.first_step = data.ConsumeIntegral<std::int64_t>();
  one.last_step = data.ConsumeIntegral<std::int64_t>();
  one.message = text(data);
  Evidence evidence{text(data), data.ConsumeFloatingPoint<double>(), data.ConsumeFloatingPoint<double>(), ">", {}, {}};
  if (data.ConsumeBool()) {
    evidence.quantity = quantities()[data.ConsumeIntegralInRange<std::size_t>(0, quantities().size() - 1)].id;
    evidence.subject = text(data);
  }
  one.evidence.push_back(std::move(evidence));
  one.recommendations.push_back(
      {text(data), text(data), text(data), text(data), data.ConsumeProbability<double>(), {}});
  return one;
}

StepRecord row(FuzzedDataProvider& data, const Run& run) {
  StepRecord record;
  record.step = data.ConsumeIntegral<std::int64_t>();
  record.wall_time = data.ConsumeFloatingPoint<double>();
  for (std::size_t n = data.ConsumeIntegralInRange<std::size_t>(0, 8); n > 0; --n) {
    const QuantityInfo& quantity = quantities()[data.ConsumeIntegralInRange<std::size_t>(0, quantities().size() - 1)];
    const std::size_t width = quantity.axis == Axis::kRun ? 1 : run.of(quantity.axis).size();
    if (width > 0)
      record.set(quantity.id, data.ConsumeIntegralInRange<std::size_t>(0, width - 1),
                 data.ConsumeFloatingPoint<double>());
  }
  if (data.ConsumeBool()) record.events.push_back({record.step, text(data), text(data), text(data)});
  return record;
}

ModelReport model(FuzzedDataProvider& data, std::vector<StepRecord>& rows) {
  ModelReport all;
  RunInfo& info = all.run.info;
  for (std::string* each : {&info.name, &info.created_utc, &info.command_line, &info.libraries, &info.optimizer,
                            &info.loss_kind, &info.continues})
    *each = text(data);
  for (const Axis axis : {Axis::kNamed, Axis::kParameter, Axis::kActivation, Axis::kFeature, Axis::kInputBin})
    for (std::size_t n = data.ConsumeIntegralInRange<std::size_t>(0, 3); n > 0; --n)
      all.run.of(axis).push_back(subject(data));
  PlotCollector plots(16);
  for (std::size_t n = data.ConsumeIntegralInRange<std::size_t>(0, 4); n > 0; --n) {
    rows.push_back(row(data, all.run));
    plots.observe(all.run, rows.back());
  }
  all.plots = plots.plots();
  Diagnosis& diagnosis = all.diagnosis;
  diagnosis.verdict = data.PickValueInArray({Verdict::kHealthy, Verdict::kUnhealthy, Verdict::kUndecided});
  diagnosis.undecided_because = text(data);
  diagnosis.steps = static_cast<std::int64_t>(rows.size());
  for (std::size_t n = data.ConsumeIntegralInRange<std::size_t>(0, 3); n > 0; --n) {
    DiagnosedFinding root{finding(data), {}};
    if (data.ConsumeBool()) root.consequences.push_back({finding(data), {}});
    diagnosis.roots.push_back(std::move(root));
  }
  diagnosis.not_evaluated.push_back({"dead-units", text(data)});
  if (data.ConsumeBool()) diagnosis.suppressed.push_back({finding(data), text(data)});
  if (data.ConsumeBool()) diagnosis.expired.push_back({"dead-units", text(data), text(data), "2020-01-01"});
  all.finished = data.ConsumeBool();
  return all;
}

template <typename Write>
std::string written(const Write& write) {
  std::ostringstream out;
  write(out);
  return out.str();
}

void write_reports(const Report& report, const TerminalOptions& terminal) {
  using fuzz::require_nothing;
  const std::vector<Report> reports{report};
  require_nothing(hostile::wrong_text(written([&](auto& out) { write_terminal(out, report, terminal); })));
  require_nothing(hostile::wrong_html(written([&](auto& out) { write_html(out, report); })));
  require_nothing(hostile::wrong_json(written([&](auto& out) { write_json(out, reports); })));
  require_nothing(hostile::wrong_text(written([&](auto& out) { write_markdown(out, reports); })));
  require_nothing(hostile::wrong_xml(written([&](auto& out) { write_junit(out, reports); })));
  require_nothing(hostile::wrong_json(written([&](auto& out) { write_sarif(out, reports); })));
  require_nothing(hostile::wrong_json(written([&](auto& out) { write_gitlab(out, reports); })));
  require_nothing(hostile::wrong_annotations(written([&](auto& out) { write_github(out, reports); })));
  const Comparison comparison = compare(report, report);
  require_nothing(hostile::wrong_text(written([&](auto& out) { write_comparison(out, comparison, terminal); })));
  require_nothing(hostile::wrong_html(written([&](auto& out) { write_comparison_html(out, comparison); })));
  require_nothing(hostile::wrong_json(written([&](auto& out) { write_comparison_json(out, comparison); })));
}

void write_exports(const ModelReport& model, const std::vector<StepRecord>& rows) {
  const ExportedRun run{model.run.info.name, &model.run, [&](const auto& visit) {
                          for (const StepRecord& record : rows) visit(record);
                        }};
  fuzz::require_nothing(hostile::wrong_csv(written([&](auto& out) { write_csv_wide(out, {run}); })));
  fuzz::require_nothing(hostile::wrong_csv(written([&](auto& out) { write_csv_long(out, {run}); })));
  fuzz::require_nothing(hostile::wrong_csv(written([&](auto& out) { write_csv_events(out, {run}); })));
  written([&](auto& out) { write_tensorboard(out, run); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  FuzzedDataProvider data(bytes, size);
  TerminalOptions terminal;
  terminal.width = data.ConsumeIntegralInRange<std::size_t>(1, 200);
  terminal.charset = data.ConsumeBool() ? Charset::kAscii : Charset::kUnicode;
  std::vector<StepRecord> rows;
  Report report;
  report.run = text(data);
  report.models.push_back(model(data, rows));
  write_reports(report, terminal);
  write_exports(report.models[0], rows);
  return 0;
}
