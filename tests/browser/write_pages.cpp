// Writes the pages that report_test.mjs opens: write_pages FOLDER
#include <cmath>
#include <filesystem>
#include <fstream>

#include <gradhealth/comparison.h>
#include <gradhealth/report.h>

#include "report/sample.h"

namespace {

using namespace gradhealth;

/// sample::unhealthy() with everything that is drawn, and evidence that cites a series.
Report full() {
  Report report = sample::unhealthy();
  ModelReport& model = report.models[0];
  for (const char* name : {"conv1", "conv1:relu", "conv2", "fc1", "fc2"})
    model.run.of(Axis::kActivation).push_back({name, name, "relu", "8x4", "float32", 4});
  model.run.of(Axis::kFeature).push_back({"channel 0", "", "conv2d", "8x1x28x28", "float32", 784});
  PlotCollector plots;
  StepRecord record;
  for (int step = 0; step < 600; ++step) {
    record.clear();
    record.step = step;
    record.set(Quantity::kLoss, step == 300 ? std::nan("") : 2 + std::exp(-step / 60.0));
    record.set(Quantity::kLossNonfinite, step == 300);
    record.set(Quantity::kGlobalGradientNorm, 100 * std::exp(-step / 20.0) + 0.01);
    record.set(Quantity::kLearningRate, step < 300 ? 0.1 : 0.01);
    for (std::size_t i = 0; i < model.run.of(Axis::kParameter).size(); ++i) {
      record.set(Quantity::kGradientNorm, i, step > 400 && i == 0 ? 0 : std::exp(-0.4 * static_cast<double>(i)));
      record.set(Quantity::kGradientNonfinite, i, 0);
      record.set(Quantity::kUpdateRatio, i, 1e-3);
      record.set(Quantity::kWeightNorm, i, 1 + step / 100.0);
    }
    for (std::size_t i = 0; i < 5; ++i) {
      record.set(Quantity::kActivationRms, i, 1 + static_cast<double>(i));
      record.set(Quantity::kCumulativeGrowth, i, std::pow(10, 4 - static_cast<double>(i)));
    }
    record.set(Quantity::kInputMin, 0, 0);
    record.set(Quantity::kInputMax, 0, 255);
    record.set(Quantity::kInputMean, 0, 73);
    record.set(Quantity::kInputStd, 0, 90);
    plots.observe(model.run, record);
  }
  model.plots = plots.plots();
  model.diagnosis.roots[0].finding.evidence.insert(model.diagnosis.roots[0].finding.evidence.begin(),
                                                   {"gradient norm", 0.67, 0.5, ">", Quantity::kGradientNorm,
                                                    model.run.of(Axis::kParameter)[1].name});
  return report;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  const auto page = [&](const char* name, const Report& report) {
    std::ofstream out(folder / name, std::ios::binary);
    write_html(out, report);
  };
  page("unhealthy.html", full());
  page("healthy.html", sample::healthy());
  page("suppressed.html", sample::suppressed());
  page("two-models.html", sample::adversarial());
  page("empty.html", sample::empty());
  page("hostile.html", sample::hostile("</script><script>window.broken = true;alert(1)</script>\"'><img src=x>"));
  page("large.html", sample::large(200, 5000));
  std::ofstream diff(folder / "diff.html", std::ios::binary);
  write_comparison_html(diff, compare(sample::unhealthy(), sample::healthy()));
  return 0;
}
