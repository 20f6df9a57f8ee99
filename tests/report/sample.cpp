#include "report/sample.h"

#include <cmath>
#include <limits>
#include <utility>

namespace gradhealth::sample {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

Finding finding(std::string rule, Severity severity, SubjectRef subject, std::int64_t first, std::int64_t last) {
  Finding f;
  f.rule = std::move(rule);
  f.severity = severity;
  f.subject = std::move(subject);
  f.first_step = first;
  f.last_step = last;
  return f;
}

DiagnosedFinding raw_input() {
  Finding dead = finding("dead-units", Severity::kError, {"", "conv1", "conv1:relu"}, 4, 599);
  dead.confidence = 0.9;
  dead.message = "15 of 16 channels of conv1:relu were zero for every sample of the last 20 recorded steps.";
  dead.evidence = {{"dead units", 0.9375, 0.9, "≥", Quantity::kActivationDeadFraction, "conv1:relu"}};
  dead.recommendations = {{"lower-learning-rate", "Lower the learning rate to 0.005.", "", "", 0.4, {}}};
  Finding flat = finding("plateaued-loss", Severity::kWarning, {}, 40, 599);
  flat.message = "The loss stays at 2.303, the value of guessing among 10 classes.";
  flat.evidence = {{"relative progress of the loss over 100 steps", 2.1e-5, 1e-3, "<", Quantity::kLoss, ""}};

  Finding raw = finding("unnormalized-input", Severity::kError, {"", "conv1", "input of conv1"}, 0, 599);
  raw.message =
      "The input has mean 72.94 and standard deviation 90.02; it looks like 8-bit pixels that were not divided by 255. "
      "The first layer's relative gradient is 41 times that of the median layer.";
  raw.evidence = {{"RMS of the input", 115.9, 10, ">", Quantity::kInputStd, "channel 0"},
                  {"first layer's relative gradient over the median layer's", 41.2, 30, "≥", std::nullopt, ""}};
  raw.recommendations = {
      {"normalize-input",
       "Normalise the input with this run's mean and standard deviation.",
       "Gradients of the first layer scale with its input.",
       "auto dataset = torch::data::datasets::MNIST(path)\n    .map(torch::data::transforms::Normalize<>(72.94, "
       "90.02))\n"
       "    .map(torch::data::transforms::Stack<>());",
       1,
       {{"mean", {72.94}}, {"std", {90.02}}}},
      {"add-batch-norm", "Put a BatchNorm2d in front of conv1.", "", "x = bn0->forward(x);", 0.6, {}}};
  return {raw, {{dead, {{flat, {}}}}}};
}

Plots plots(const Run& run, std::int64_t steps, double start, double decay) {
  PlotCollector collector;
  StepRecord record;
  const std::size_t parameters = run.of(Axis::kParameter).size();
  for (std::int64_t step = 0; step < steps; ++step) {
    record.clear();
    record.step = step;
    const double t = static_cast<double>(step);
    record.set(Quantity::kLoss, 2.303 + start * std::exp(-t / decay) + 0.05 * std::sin(t));
    record.set(Quantity::kLossNonfinite, 0);
    record.set(Quantity::kGlobalGradientNorm, start * std::exp(-t / decay) + 1e-3);
    record.set(Quantity::kLearningRate, 0.05 * std::pow(0.5, std::floor(t / 200)));
    for (std::size_t i = 0; i < parameters; ++i) {
      const double depth = static_cast<double>(i) / static_cast<double>(parameters);
      const bool dead = start > 1 && i < 2 && step > 40;
      const bool broken = start > 1 && i + 1 == parameters && step > 500 && step < 540;
      record.set(Quantity::kGradientNorm, i,
                 broken ? kNaN
                 : dead ? 0
                        : start * std::exp(-t / decay - 3 * depth) + 1e-4 * (1 + std::cos(t / 9)));
      record.set(Quantity::kGradientNonfinite, i, broken ? 7 : 0);
    }
    collector.observe(run, record);
  }
  return collector.plots();
}

Run network(const std::string& name) {
  Run run;
  run.info.name = name;
  run.info.created_utc = "2026-01-02T03:04:05Z";
  run.info.command_line = "./train --data raw";
  run.info.libraries = "LibTorch 1.13.1, HDF5 1.10.8";
  run.info.optimizer = "SGD";
  run.info.momentum = 0.9;
  for (const char* layer : {"conv1", "conv2", "fc1", "fc2"})
    for (const char* kind : {"weight", "bias"})
      run.of(Axis::kParameter).push_back({std::string(layer) + "." + kind, layer, kind, "16x1x3x3", "float32", 144});
  return run;
}

ModelReport healthy_model(const std::string& name) {
  ModelReport model;
  model.run = network(name);
  model.diagnosis.verdict = Verdict::kHealthy;
  model.diagnosis.steps = 600;
  model.diagnosis.passed = {"dead-units", "exploding-gradient", "nonfinite-loss", "unnormalized-input"};
  model.diagnosis.not_evaluated = {{"batchnorm-statistics", "the model has no BatchNorm"}};
  model.plots = plots(model.run, 600, 0.8, 150);
  return model;
}

}  // namespace

Report unhealthy() {
  Report report;
  report.run = "raw.h5";
  ModelReport model;
  model.run = network("");
  model.diagnosis.verdict = Verdict::kUnhealthy;
  model.diagnosis.steps = 600;
  model.diagnosis.roots = {raw_input()};
  model.diagnosis.passed = {"accumulating-gradient", "exploding-gradient", "nonfinite-loss", "vanishing-gradient"};
  model.diagnosis.not_evaluated = {{"jacobian-growth", "needs a closure: call monitor.replay()"}};
  model.plots = plots(model.run, 600, 5000, 12);
  report.models.push_back(std::move(model));
  return report;
}

Report healthy() {
  Report report;
  report.run = "fixed.h5";
  report.models.push_back(healthy_model(""));
  return report;
}

Report large(std::size_t layers, std::int64_t steps) {
  Report report;
  report.run = "large.h5";
  ModelReport model;
  for (std::size_t i = 0; i < layers; ++i) {
    const std::string module = "encoder.layers." + std::to_string(i) + ".self_attention.out_proj";
    model.run.of(Axis::kParameter).push_back({module + ".weight", module, "weight", "64x64", "float32", 4096});
  }
  model.diagnosis = unhealthy().models.front().diagnosis;
  model.diagnosis.steps = steps;
  model.plots = plots(model.run, steps, 5000, 900);
  report.models.push_back(std::move(model));
  return report;
}

Report hostile(const std::string& text) {
  Report report;
  report.run = text;
  ModelReport model;
  model.run = network(text);
  model.run.info.command_line = model.run.info.optimizer = model.run.info.libraries = text;
  model.run.of(Axis::kParameter)[0].name = text;
  Finding f = finding("dead-units", Severity::kError, {text, text, text}, 1, 2);
  f.message = text;
  f.evidence = {{text, kNaN, std::numeric_limits<double>::infinity(), "<", Quantity::kLoss, text}};
  f.recommendations = {{"id", text, text, text, 1, {{text, {kNaN}}}}, {"other", text, text, text, 0.2, {}}};
  model.diagnosis.verdict = Verdict::kUnhealthy;
  model.diagnosis.steps = 3;
  model.diagnosis.roots = {{f, {{f, {}}}}};
  model.diagnosis.passed = {text};
  model.diagnosis.not_evaluated = {{"other", text}};
  model.plots = plots(model.run, 3, 1, 10);
  report.models.push_back(std::move(model));
  return report;
}

Report suppressed() {
  Report report = unhealthy();
  Diagnosis& diagnosis = report.models.front().diagnosis;
  std::vector<DiagnosedFinding>& below = diagnosis.roots.front().consequences.front().consequences;
  diagnosis.suppressed = {{below.front().finding, "plateaus on purpose | see #12"}};
  below.clear();
  diagnosis.expired = {{"dead-units", "conv1*", "pruned", "2020-01-31"}};
  return report;
}

Report many(std::size_t count, Severity severity) {
  Report report;
  report.run = "many.h5";
  ModelReport model;
  model.diagnosis.verdict = severity == Severity::kError ? Verdict::kUnhealthy : Verdict::kHealthy;
  model.diagnosis.steps = 3;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string layer = "layer " + std::to_string(i);
    Finding f = finding("exploding-gradient", severity, {"", layer, layer}, 1, 2);
    f.message = "The gradient explodes in " + layer + ".";
    f.evidence = {{"gradient norm", 1e9, 10, ">", std::nullopt, layer}};
    f.recommendations = {{"clip", "Clip.", "", "clip();", 1, {}}};
    model.diagnosis.roots.push_back({f, {}});
  }
  report.models.push_back(std::move(model));
  return report;
}

Report empty() {
  Report report;
  report.run = "empty.h5";
  report.models.emplace_back();
  report.models.front().diagnosis.undecided_because = "no step was recorded";
  report.models.front().diagnosis.not_evaluated = {{"dead-units", "no step was recorded"}};
  return report;
}

Report adversarial() {
  Report report;
  report.run = "run/";
  report.models.push_back(healthy_model("D"));
  report.models.front().finished = false;
  ModelReport generator = unhealthy().models.front();
  generator.run.info.name = "G";
  generator.diagnosis.roots.front().finding.subject.model = "G";
  generator.diagnosis.roots.front().consequences.front().finding.subject.model = "G";
  report.models.push_back(std::move(generator));
  return report;
}

}  // namespace gradhealth::sample
