#include <algorithm>
#include <cmath>

#include "rules/support/input_features.h"
#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

const std::string kRule = "unnormalized-input";

Fault input(double mean, double deviation, double low, double high, double integers = 0) {
  return [=](StepRecord& record) {
    for (std::size_t f = 0; f < 4; ++f) {
      record.set(Quantity::kInputMean, f, mean);
      record.set(Quantity::kInputStd, f, deviation);
      record.set(Quantity::kInputMin, f, low);
      record.set(Quantity::kInputMax, f, high);
      record.set(Quantity::kInputIntegerFraction, f, integers);
    }
  };
}

Fault both(const Fault& a, const Fault& b) {
  return [a, b](StepRecord& record) {
    a(record);
    b(record);
  };
}

const Fault kRawPixels = input(72.9, 90, 0, 255, 1);

double raw_loss(std::int64_t step) {
  return step == 0 ? 9.2 : step < 4 ? 2400 * std::pow(30.0, static_cast<double>(step)) : 2.303;
}

SyntheticRun image_run() {
  SyntheticRun run;
  for (std::size_t f = 0; f < 4; ++f) {
    run.run.of(Axis::kFeature)[f].name = "channel " + std::to_string(f);
    run.run.of(Axis::kFeature)[f].kind = "conv2d";
    run.run.of(Axis::kFeature)[f].size = 784;
  }
  return run;
}

const std::vector<double>& values_of(const Recommendation& advice, const std::string& name) {
  for (const auto& [key, values] : advice.values)
    if (key == name) return values;
  throw std::logic_error("no values " + name);
}

}  // namespace

TEST_CASE("raw pixels that do harm are an error within ten steps, with the normalisation as code",
          "[rules][unnormalized-input]") {
  for (const std::size_t records : {3u, 5u, 10u, 60u}) {
    const Outcome outcome = judge(kRule, image_run(), records, raw_loss, kRawPixels);
    REQUIRE(is(outcome, Severity::kError));
    const Finding& finding = first_finding(outcome);
    CHECK(finding.first_step == 0);
    CHECK(finding.evidence.size() == 2);
    REQUIRE(finding.recommendations.at(0).id == "normalize-input");
    const Recommendation& advice = finding.recommendations[0];
    CHECK(values_of(advice, "scale") == std::vector<double>{255});
    REQUIRE(values_of(advice, "mean").size() == 4);
    CHECK(std::abs(values_of(advice, "mean")[0] - 72.9 / 255) < 1e-6);
    CHECK(std::abs(values_of(advice, "std")[0] - 90.0 / 255) < 1e-6);
    CHECK(advice.code.find(".div(255)") != std::string::npos);
    CHECK(advice.code.find("transforms::Normalize<>({0.28588") != std::string::npos);
    CHECK(finding.recommendations.at(1).id == "lower-learning-rate");
    CHECK(finding.recommendations[1].confidence < advice.confidence);
  }
}

TEST_CASE("raw input that trains is a warning", "[rules][unnormalized-input]") {
  CHECK(is(judge(kRule, image_run(), 60, learning, kRawPixels), Severity::kWarning));
  CHECK(is(judge(kRule, image_run(), 1, learning, kRawPixels), Severity::kWarning));
}

TEST_CASE("a loss that rose and then came down to learn takes the error back", "[rules][unnormalized-input]") {
  const auto loss = [](std::int64_t step) {
    return step == 0 ? 6.0 : step < 4 ? 30.0 : 8 * std::exp(-static_cast<double>(step) / 40);
  };
  CHECK(is(judge(kRule, image_run(), 5, loss, kRawPixels), Severity::kError));
  CHECK(is(judge(kRule, image_run(), 60, loss, kRawPixels), Severity::kWarning));
}

TEST_CASE("each kind of harm makes it an error", "[rules][unnormalized-input]") {
  const auto flat = [](std::int64_t) { return 2.3; };
  const auto with = [&](const Fault& harm) { return judge(kRule, image_run(), 30, flat, both(kRawPixels, harm)); };
  CHECK(is(with({[](StepRecord&) {}}), Severity::kWarning));
  CHECK(is(with([](StepRecord& r) {
             if (r.step > 5) r.set(Quantity::kActivationZeroFraction, SyntheticRun::relu(0), 1);
           }),
           Severity::kError));
  CHECK(is(with([](StepRecord& r) {
             if (r.step > 18) r.set(Quantity::kActivationDeadFraction, SyntheticRun::relu(0), 0.6);
           }),
           Severity::kError));
  CHECK(is(with([](StepRecord& r) {
             if (r.step > 18) r.set(Quantity::kWeightNonfinite, 0, 1);
           }),
           Severity::kError));
  CHECK(is(with([](StepRecord& r) {
             if (r.step > 18) r.set(Quantity::kLossNonfinite, 1);
           }),
           Severity::kError));
  CHECK(is(with([](StepRecord& r) { r.set(Quantity::kGradientNorm, 0, 0.2 * 40); }), Severity::kError));
  CHECK(is(with([](StepRecord& r) { r.set(Quantity::kGradientNorm, 0, 0.2 * 20); }), Severity::kWarning));
}

TEST_CASE("the ratio of gradients does not care about the loss's scale", "[rules][unnormalized-input]") {
  for (const double scale : {1.0, 1000.0}) {
    const Outcome outcome = judge(
        kRule, image_run(), 30, [scale](std::int64_t) { return 2.3 * scale; }, both(kRawPixels, [scale](StepRecord& r) {
          for (std::size_t i = 0; i < 8; ++i) r.set(Quantity::kGradientNorm, i, scale * (i == 0 ? 8 : 0.2));
        }));
    CHECK(is(outcome, Severity::kError));
  }
}

TEST_CASE("thresholds of scale hold from both sides", "[rules][unnormalized-input]") {
  const auto judged = [](const Fault& fault) { return judge(kRule, SyntheticRun(), 30, learning, fault); };
  CHECK(is_healthy(judged(input(4.9, 1, 0, 8))));              // λ₁/dim ≥ 24
  CHECK(is(judged(input(5.1, 1, 0, 8)), Severity::kWarning));  // 26
  CHECK(is_healthy(judged(both(input(0, 1, -3, 3), [](StepRecord& r) { r.set(Quantity::kInputStd, 0, 9.8); }))));
  CHECK(is(judged(both(input(0, 1, -3, 3), [](StepRecord& r) { r.set(Quantity::kInputStd, 0, 10.1); })),
           Severity::kWarning));
  CHECK(is_healthy(judged(both(input(0, 1, -3, 3), [](StepRecord& r) { r.set(Quantity::kInputStd, 0, 0.002); }))));
  CHECK(is(judged(both(input(0, 1, -3, 3), [](StepRecord& r) { r.set(Quantity::kInputStd, 0, 0.0005); })),
           Severity::kWarning));
}

TEST_CASE("of a long run, the last step counts like the first one", "[rules][unnormalized-input]") {
  // The mean over all steps passes 5 with the last of 400 records, and no earlier.
  const auto grows = [](StepRecord& r) { input(r.step < nth_step(398) ? 4.98 : 10, 0.1, 0, 12)(r); };
  CHECK(is_healthy(judge(kRule, SyntheticRun(), 399, learning, grows)));
  const Outcome outcome = judge(kRule, SyntheticRun(), 400, learning, grows);
  REQUIRE(is(outcome, Severity::kWarning));
  const double mean = (398 * 4.98 + 2 * 10) / 400;
  CHECK_THAT(first_finding(outcome).evidence[0].observed, Catch::Matchers::WithinRel(mean * mean, 1e-6));
}

TEST_CASE("of many features, a few pixels that hardly ever light are no difference of scale", "[rules][unnormalized-input]") {
  SyntheticOptions options;
  options.features = 100;
  const auto judged = [&](std::size_t narrow, std::size_t wide) {
    return judge(kRule, SyntheticRun(options), 30, learning, [=](StepRecord& r) {
      for (std::size_t i = 0; i < 100; ++i) {
        r.set(Quantity::kInputMean, i, 0);
        r.set(Quantity::kInputStd, i, i < narrow ? 1e-4 : i >= 100 - wide ? 20 : 1);
        r.set(Quantity::kInputMin, i, -3);
        r.set(Quantity::kInputMax, i, 3);
      }
    });
  };
  CHECK(is_healthy(judged(0, 0)));
  CHECK(is_healthy(judged(9, 0)));
  CHECK(is(judged(12, 0), Severity::kWarning));
  CHECK(is_healthy(judged(0, 9)));
  CHECK(is(judged(0, 12), Severity::kWarning));
}

TEST_CASE("unit-range, standardised, one-hot, constant and sparse input is healthy", "[rules][unnormalized-input]") {
  const auto judged = [](const Fault& fault) { return judge(kRule, image_run(), 30, learning, fault); };
  CHECK(is_healthy(judged(input(0.286, 0.353, 0, 1))));
  CHECK(is_healthy(judged(input(0, 1, -2.6, 2.6))));
  CHECK(is_healthy(judged(input(0.001, 0.03, 0, 1, 1))));
  CHECK(is_healthy(judged(both(input(0, 1, -3, 3), [](StepRecord& r) {
    r.set(Quantity::kInputMean, 1, 1);
    r.set(Quantity::kInputStd, 1, 0);
    r.set(Quantity::kInputMin, 1, 1);
    r.set(Quantity::kInputMax, 1, 1);
  }))));
}

TEST_CASE("token ids and models that normalise themselves are not judged", "[rules][unnormalized-input]") {
  for (const char* consumer : {"embedding", "batch_norm", "layer_norm"}) {
    SyntheticOptions options;
    options.input_operator = consumer;
    CHECK(is_not_evaluated(judge(kRule, SyntheticRun(options), 30, raw_loss, kRawPixels)));
  }
}

TEST_CASE("means and deviations are pooled over batches of different size", "[rules][unnormalized-input]") {
  rules::InputFeatures features;
  SyntheticRun run;
  for (std::int64_t step = 0; step < 2; ++step) {
    StepRecord record = run.step(step, 1);
    input(step == 0 ? 10 : 40, 2, 0, 255)(record);
    record.set(Quantity::kBatchSize, step == 0 ? 200 : 100);
    features.observe(run.run, record);
  }
  // Mean (200·10 + 100·40)/300 = 20; variance 4 + 200/300·100 + 100/300·400 = 204.
  CHECK(std::abs(features.pooled().mean() - 20) < 1e-9);
  CHECK(std::abs(features.pooled().variance() - 204) < 1e-9);
}

TEST_CASE("tables get their numbers as tensors, wide ones from the data", "[rules][unnormalized-input]") {
  const auto table = [](std::size_t columns) {
    SyntheticOptions options;
    options.features = columns;
    const Outcome outcome = judge(kRule, SyntheticRun(options), 30, learning, [columns](StepRecord& record) {
      for (std::size_t f = 0; f < columns; ++f) record.set(Quantity::kInputMean, f, 500.5);
    });
    return first_finding(outcome).recommendations.at(0).code;
  };
  CHECK(table(3).find("torch::tensor({500.5, 500.5, 500.5})") != std::string::npos);
  CHECK(table(40).find("x_train.mean(0)") != std::string::npos);
}

TEST_CASE("raw input, explosion, dead layers and flat loss are one diagnosis with the input as its root",
          "[rules][diagnosis]") {
  const Diagnosis d =
      diagnose(image_run(), 60, raw_loss, both(kRawPixels, [](StepRecord& record) {
                 // No two batches are the same, and evaluation has the same pixels.
                 record.set(Quantity::kInputMean, 0, 72.9 + 0.1 * static_cast<double>(record.step % 7));
                 if (record.step % 50 == 0) record.set(Quantity::kEvalInputMean, 72.9);
                 if (record.step % 50 == 0) record.set(Quantity::kEvalInputStd, 90);
                 if (record.step < 4) {
                   record.set(Quantity::kUpdateRatio, 0, 200);
                   record.set(Quantity::kGlobalGradientNorm, 50 * std::pow(100.0, static_cast<double>(record.step)));
                   return;
                 }
                 record.set(Quantity::kGlobalGradientNorm, 1e-3);
                 for (std::size_t i = 0; i < 7; ++i) record.set(Quantity::kGradientNorm, i, 0);
                 for (std::size_t layer = 0; layer < 3; ++layer) {
                   record.set(Quantity::kActivationZeroFraction, SyntheticRun::relu(layer), 1);
                   if (record.step >= 30) record.set(Quantity::kActivationDeadFraction, SyntheticRun::relu(layer), 1);
                 }
               }));
  CHECK(d.verdict == Verdict::kUnhealthy);
  REQUIRE(d.roots.size() == 1);
  CHECK(d.roots[0].finding.rule == "unnormalized-input");
  REQUIRE(d.roots[0].consequences.size() == 1);
  CHECK(d.roots[0].consequences[0].finding.rule == "exploding-gradient");
  CHECK(d.roots[0].consequences[0].consequences.at(0).finding.rule == "diverging-loss");
  // And three dead layers, with gradients of zero behind them, and a loss as of a constant.
  CHECK(flatten(d.roots).size() == 8);
}
