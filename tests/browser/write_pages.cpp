// Writes the pages that report_test.mjs opens: write_pages FOLDER
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gradhealth/comparison.h>
#include <gradhealth/report.h>

#include "report/sample.h"

namespace {

using namespace gradhealth;

/// Everything that is drawn, of a run as long and deep as that.
Plots everything(Run& run, std::size_t layers, int steps) {
  for (std::size_t i = run.of(Axis::kParameter).size(); i < layers; ++i) {
    const std::string module = "encoder.layers." + std::to_string(i);
    run.of(Axis::kParameter).push_back({module + ".weight", module, "weight", "8x4", "float32", 32});
  }
  for (std::size_t i = 0; i < layers; ++i) {
    const std::string module = "encoder.layers." + std::to_string(i);
    run.of(Axis::kActivation).push_back({module, module, "linear", "8x4", "float32", 4});
  }
  run.of(Axis::kFeature).push_back({"channel 0", "", "conv2d", "8x1x28x28", "float32", 784});
  for (std::size_t bin = 0; bin < kInputBins; ++bin)
    run.of(Axis::kInputBin).push_back({"channel 0, bin " + std::to_string(bin), "", "conv2d", "", "float32", 784});
  PlotCollector plots;
  StepRecord record;
  for (int step = 0; step < steps; ++step) {
    record.clear();
    record.step = step;
    const double time = static_cast<double>(step) / steps;
    record.set(Quantity::kLoss, step == steps / 2 ? std::nan("") : 2 + std::exp(-10 * time));
    record.set(Quantity::kLossNonfinite, step == steps / 2);
    record.set(Quantity::kGlobalGradientNorm, 100 * std::exp(-30 * time) + 0.01);
    record.set(Quantity::kLearningRate, time < 0.5 ? 0.1 : 0.01);
    for (std::size_t i = 0; i < layers; ++i) {
      const double depth = static_cast<double>(i) / static_cast<double>(layers);
      const double ripple = 1 + 0.3 * std::sin(0.1 * step + static_cast<double>(i));
      record.set(Quantity::kGradientNorm, i, time > 0.7 && i == 0 ? 0 : ripple * std::exp(-4 * depth));
      record.set(Quantity::kGradientNonfinite, i, 0);
      record.set(Quantity::kUpdateRatio, i, 1e-3 * ripple);
      record.set(Quantity::kWeightNorm, i, 1 + 6 * time + depth);
      record.set(Quantity::kActivationRms, i, 1 + 5 * depth);
      record.set(Quantity::kCumulativeGrowth, i, std::pow(10, (4 - 3 * time) * (1 - depth)));
    }
    record.set(Quantity::kInputMin, 0, 0);
    record.set(Quantity::kInputMax, 0, 255);
    record.set(Quantity::kInputMean, 0, 73);
    record.set(Quantity::kInputStd, 0, 90);
    const double background = 0.5 + 0.2 * time;
    for (std::size_t bin = 0; bin < kInputBins; ++bin)
      record.set(Quantity::kInputShare, bin, bin == 0 ? background : (1 - background) / (kInputBins - 1));
    plots.observe(run, record);
  }
  return plots.plots();
}

/// sample::unhealthy() with all of that, and evidence that cites a series.
Report full(std::size_t layers, int steps) {
  Report report = sample::unhealthy();
  ModelReport& model = report.models[0];
  model.plots = everything(model.run, layers, steps);
  const std::string cited = model.run.of(Axis::kParameter)[1].name;
  const double last = model.plots.gradient_norm.maximum[1].back();
  std::vector<Evidence>& evidence = model.diagnosis.roots[0].finding.evidence;
  evidence.insert(evidence.begin(), {"gradient norm", last, last / 2, ">", Quantity::kGradientNorm, cited});
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
  page("unhealthy.html", full(8, 600));
  page("healthy.html", sample::healthy());
  page("suppressed.html", sample::suppressed());
  page("two-models.html", sample::adversarial());
  page("empty.html", sample::empty());
  page("hostile.html", sample::hostile("</script><script>window.broken = true;alert(1)</script>\"'><img src=x>"));
  page("large.html", full(200, 5000));
  std::ofstream diff(folder / "diff.html", std::ios::binary);
  write_comparison_html(diff, compare(sample::unhealthy(), sample::healthy()));
  return 0;
}
