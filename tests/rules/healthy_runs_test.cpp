#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

struct Shape {
  std::string name;
  std::function<double(double step, double noise)> loss;
  Fault record = {};
};

std::vector<Shape> shapes() {
  const auto falling = [](double step, double tau) { return 0.3 + 2 * std::exp(-step / tau); };
  return {
      {"quick convergence", [=](double t, double z) { return 2.3 * std::exp(-t / 5) * std::exp(0.3 * z) + 1e-4; }},
      {"noisy loss", [=](double t, double z) { return falling(t, 100) * std::exp(0.6 * z); }},
      {"plateau at the end", [=](double t, double z) { return falling(t, 10) + 0.02 * z; }},
      {"standing at the noise of its data", [=](double, double z) { return 1.9 + 0.02 * z; },
       [](StepRecord& r) {
         r.set(Quantity::kGradientAlignment, 0.15 + 0.02 * std::sin(3.0 * static_cast<double>(r.step)));
       }},
      {"spike that recovers",
       [=](double t, double z) { return falling(t, 60) + 0.02 * z + (t > 139 && t < 161 ? 5 : 0); },
       [](StepRecord& r) {
         if (r.step > 139 && r.step < 161) r.set(Quantity::kGlobalGradientNorm, 20);
       }},
      {"rough start", [=](double t, double z) { return t > 0 && t < 4 ? 9 + z : falling(t, 40) + 0.02 * z; }},
      {"negative log-density", [=](double t, double z) { return 40 - 100 * (1 - std::exp(-t / 80)) + z; }},
      {"around zero", [](double, double z) { return 0.3 * z; }},
      {"warm-up", [=](double t, double z) { return 2.3 - 2e-5 * t * t / (1 + 1e-5 * t * t) + 0.01 * z; },
       [](StepRecord& r) {
         r.set(Quantity::kLearningRate, 1e-4 * std::min<double>(100, static_cast<double>(r.step)));
       }},
      {"adversarial", [](double t, double z) { return 0.7 + 0.4 * std::sin(t / 7) + 0.2 * z; }},
      {"sum-reduced", [=](double t, double z) { return 1e4 * falling(t, 60) * std::exp(0.05 * z); },
       [](StepRecord& r) {
         for (std::size_t i = 0; i < 8; ++i) r.set(Quantity::kGradientNorm, i, 1e4 * r.at(Quantity::kGradientNorm, i));
         r.set(Quantity::kGlobalGradientNorm, 1e4 * r.at(Quantity::kGlobalGradientNorm));
       }},
      {"interpolation", [](double t, double) { return 2.3 * std::exp(-t / 20); },
       [](StepRecord& r) {
         const double scale = std::exp(-static_cast<double>(r.step) / 20);
         for (std::size_t i = 0; i < 8; ++i)
           r.set(Quantity::kGradientNorm, i, scale * r.at(Quantity::kGradientNorm, i));
         r.set(Quantity::kGlobalGradientNorm, scale * r.at(Quantity::kGlobalGradientNorm));
       }},
      {"heavy-tailed gradients", [=](double t, double z) { return falling(t, 60) * std::exp(0.3 * z); },
       [](StepRecord& r) {
         if (r.step % 70 == 0) r.set(Quantity::kGlobalGradientNorm, 15);
       }},
      {"sparse records", [=](double t, double z) { return falling(t, 60) + 0.02 * z; },
       [](StepRecord& r) {
         if (r.step % 20 != 0) return;
         for (std::size_t i = 0; i < 8; ++i) r.set(Quantity::kUpdateRatio, i, NAN);
         for (std::size_t a = 0; a < 7; ++a) r.set(Quantity::kActivationGradientNorm, a, NAN);
       }},
  };
}

}  // namespace

TEST_CASE("healthy runs of every shape get no warning and no error, at any time", "[rules][healthy]") {
  for (const Shape& shape : shapes())
    for (std::uint32_t seed = 1; seed <= 12; ++seed) {
      SyntheticOptions options;
      options.seed = seed;
      options.noise = 0.3;
      SyntheticRun run(options);
      Diagnoser diagnoser;
      std::string told;
      for (std::size_t n = 0; n < 150; ++n) {
        const std::int64_t step = nth_step(n);
        StepRecord record = run.step(step, shape.loss(static_cast<double>(step), run.noise()));
        if (shape.record) shape.record(record);
        diagnoser.observe(run.run, record);
        for (const Finding& finding : diagnoser.new_findings())
          if (finding.severity > Severity::kInfo) told += finding.message + "\n";
      }
      CAPTURE(shape.name, seed, told);
      // The rough start is a fault for as long as it lasts.
      if (shape.name != "rough start") CHECK(told.empty());
      CHECK(diagnoser.diagnosis().verdict == Verdict::kHealthy);
      for (const Finding& finding : flatten(diagnoser.diagnosis().roots)) CHECK(finding.severity == Severity::kInfo);
    }
}
