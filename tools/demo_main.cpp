// The story gradhealth started from, replayed: a network trained on raw pixels, its diagnosis, the recommended fix as
// computed from the run, and the same training again with nothing but that fix.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <gradhealth/diagnosis.h>
#include <gradhealth/report.h>
#include <gradhealth/run_file.h>

#include "demo_data.h"
#include "demo_training.h"

namespace {

using demo::CurvePoint;
using demo::Settings;

void say(const std::string& line) { std::cout << line << std::endl; }

void print_point(const CurvePoint& point) {
  say(fmt::format("  step {:5}   loss {:9.4g}   test accuracy {:5.1f} %", point.step, point.loss, 100 * point.accuracy));
}

gradhealth::Report judge(const std::filesystem::path& run_file) {
  const gradhealth::RunReader reader(run_file);
  gradhealth::Diagnoser diagnoser;
  gradhealth::PlotCollector plots;
  reader.for_each_step([&](const gradhealth::StepRecord& row) {
    diagnoser.observe(reader.run(), row);
    plots.observe(reader.run(), row);
  });
  gradhealth::Report report;
  report.run = run_file.filename().string();
  report.models.push_back({reader.run(), diagnoser.diagnosis(), plots.plots(),
                           reader.state() == gradhealth::RunState::kFinished, {}});
  return report;
}

double only_value(const gradhealth::Recommendation& recommendation, const std::string& name) {
  for (const auto& [key, numbers] : recommendation.values)
    if (key == name && numbers.size() == 1) return numbers.front();
  throw std::runtime_error(fmt::format("the recommendation '{}' carries no number '{}'", recommendation.id, name));
}

/// The first recommendation of the root cause, as numbers.
demo::Normalisation recommended_fix(const gradhealth::Report& report) {
  const gradhealth::Diagnosis& diagnosis = report.models.front().diagnosis;
  if (diagnosis.roots.empty()) throw std::runtime_error("nothing was found in the raw run: there is nothing to fix");
  const gradhealth::Finding& root = diagnosis.roots.front().finding;
  const gradhealth::Recommendation& fix = root.recommendations.front();
  if (fix.id != "normalize-input")
    throw std::runtime_error(fmt::format("the root cause is '{}' with the fix '{}', and this demo applies "
                                         "'normalize-input' only", root.rule, fix.id));
  return {only_value(fix, "scale"), only_value(fix, "mean"), only_value(fix, "std")};
}

void print_side_by_side(const std::vector<CurvePoint>& before, const std::vector<CurvePoint>& after) {
  say("                raw 0-255 pixels          with the recommended fix");
  say("   step        loss   test accuracy        loss   test accuracy");
  for (std::size_t i = 0; i < before.size() && i < after.size(); ++i)
    say(fmt::format("  {:5}   {:9.4g}         {:5.1f} %   {:9.4g}         {:5.1f} %", before[i].step, before[i].loss,
                    100 * before[i].accuracy, after[i].loss, 100 * after[i].accuracy));
}

/// Trains the raw input with the usual remedies instead of the cause's, and with a smaller learning rate.
void print_ablation(const demo::Images& train, const demo::Images& test, const Settings& base,
                    const demo::Normalisation& fix) {
  say("\nWhat each measure does alone (same seed, same 600 steps):");
  const auto row = [&](const std::string& name, Settings settings) {
    settings.steps = 600;
    settings.decay_step = 0;
    const CurvePoint last = demo::train(train, test, settings, {}, [](const CurvePoint&) {}).back();
    say(fmt::format("  {:36}  loss {:9.4g}   test accuracy {:5.1f} %", name, last.loss, 100 * last.accuracy));
  };
  Settings settings = base;
  row("nothing", settings);
  settings.clip_norm = 1;
  row("gradient clipping at norm 1", settings);
  settings.clip_norm = 0;
  settings.weight_decay = 5e-4;
  row("weight decay 5e-4", settings);
  settings.clip_norm = 1;
  row("clipping and weight decay", settings);
  settings = base;
  settings.learning_rate = base.learning_rate / 100;
  row(fmt::format("learning rate {:g}", settings.learning_rate), settings);
  settings = base;
  settings.normalisation = fix;
  row("the recommended normalisation", settings);
  settings.clip_norm = 1;
  settings.weight_decay = 5e-4;
  row("normalisation, clipping and decay", settings);
}

int run(const std::filesystem::path& data, const std::filesystem::path& out, bool full) {
  const demo::Images train = demo::read_images(data, "train");
  const demo::Images test = demo::read_images(data, "t10k");
  std::filesystem::create_directories(out);
  for (const char* file : {"raw.h5", "fixed.h5", "report.html"}) std::filesystem::remove(out / file);

  Settings settings;
  if (full) {
    settings.steps = 4000;
    settings.decay_step = 2500;
  }
  say(fmt::format("1. Training two convolutions and two linear layers on Fashion-MNIST's raw 0-255 pixels\n"
                  "   (SGD, lr {:g}{}, momentum {:g}, batch {}, {} steps, seed {})\n",
                  settings.learning_rate, full ? fmt::format(", ÷10 at step {}", settings.decay_step) : "",
                  settings.momentum, settings.batch_size, settings.steps, settings.seed));
  const auto before = demo::train(train, test, settings, out / "raw.h5", print_point);

  say("\n2. What gradhealth says about it: gradhealth report " + (out / "raw.h5").string() + "\n");
  const gradhealth::Report report = judge(out / "raw.h5");
  gradhealth::write_terminal(std::cout, report);
  {
    std::ofstream html(out / "report.html", std::ios::binary);
    gradhealth::write_html(html, report);
    if (!html.flush()) throw std::runtime_error("cannot write " + (out / "report.html").string());
  }

  const demo::Normalisation fix = recommended_fix(report);
  settings.normalisation = fix;
  say(fmt::format("\n3. The same training with that fix, its numbers taken from raw.h5, and nothing else changed:\n"
                  "   x -> (x / {:g} - {:.4f}) / {:.4f}\n", fix.scale, fix.mean, fix.std));
  const auto after = demo::train(train, test, settings, out / "fixed.h5", print_point);
  const gradhealth::Report fixed = judge(out / "fixed.h5");

  say("\n4. Side by side\n");
  print_side_by_side(before, after);
  say(fmt::format("\n  verdict: {} -> {}", name(verdict(report)), name(verdict(fixed))));
  if (full) {
    settings.normalisation.reset();
    print_ablation(train, test, settings, fix);
  }
  say(fmt::format("\nThe report:    {}\nThe run files: {}, {}", (out / "report.html").string(),
                  (out / "raw.h5").string(), (out / "fixed.h5").string()));

  const double wanted = full ? 0.90 : 0.80;
  if (before.back().accuracy < 0.20 && after.back().accuracy > wanted) return 0;
  std::cerr << fmt::format("gradhealth demo: expected below 20 % before and above {:g} % after\n", 100 * wanted);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Replays the story gradhealth started from on Fashion-MNIST."};
  std::string data = "/usr/share/datasets/fashion-mnist";
  std::string out = "gradhealth-demo";
  bool full = false;
  app.add_option("--data", data, "Directory with Fashion-MNIST's four .gz files")->capture_default_str();
  app.add_option("--out", out, "Directory for raw.h5, fixed.h5 and report.html")->capture_default_str();
  app.add_flag("--full", full, "Train 4,000 steps, to above 90 % test accuracy, and show what each measure does alone");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(data, out, full);
  } catch (const std::exception& error) {
    std::cerr << "gradhealth demo: " << error.what() << '\n';
    return 2;
  }
}
