#include "rules/support/input_features.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr std::size_t kFewFeatures = 16;  ///< Up to here code spells every mean and deviation out.

std::string literals(const std::vector<double>& values) {
  std::string text;
  for (const double value : values) text += (text.empty() ? "" : ", ") + literal(value);
  return text;
}

double usable_deviation(double deviation, double largest) {
  // A feature that does not vary is centred and otherwise left alone.
  return deviation > 1e-6 * std::max(std::abs(largest), 1e-30) ? deviation : 1;
}

}  // namespace

double InputFeature::rms() const { return std::sqrt(values.mean_square()); }

bool InputFeature::constant() const { return maximum == minimum; }

bool InputFeature::sparse() const { return minimum >= 0 && values.mean() < 0.1 * rms(); }

void InputFeatures::observe(const Run& run, const StepRecord& record) {
  const std::vector<Subject>& subjects = run.of(Axis::kFeature);
  for (std::size_t i = features_.size(); i < subjects.size(); ++i) {
    features_.emplace_back();
    features_.back().subject = subjects[i];
  }
  const double batch = record.at(Quantity::kBatchSize);
  const double weight = batch > 0 ? batch : 1;
  bool any = false;
  for (std::size_t i = 0; i < features_.size(); ++i) {
    const double mean = record.at(Quantity::kInputMean, i);
    const double deviation = record.at(Quantity::kInputStd, i);
    if (!std::isfinite(mean) || !std::isfinite(deviation)) continue;
    InputFeature& feature = features_[i];
    feature.values.add_group(weight, mean, deviation);
    feature.integers.add_group(weight, record.at(Quantity::kInputIntegerFraction, i), 0);
    const double low = record.at(Quantity::kInputMin, i);
    const double high = record.at(Quantity::kInputMax, i);
    // Without extremes the moments bound them from inside.
    const double least = std::isfinite(low) ? low : mean - deviation;
    const double most = std::isfinite(high) ? high : mean + deviation;
    feature.minimum = feature.seen ? std::min(feature.minimum, least) : least;
    feature.maximum = feature.seen ? std::max(feature.maximum, most) : most;
    feature.seen = true;
    any = true;
  }
  if (any) ++steps_;
}

bool InputFeatures::is_image() const {
  return !features_.empty() && features_[0].subject.name.rfind("channel", 0) == 0;
}

const std::string& InputFeatures::consumer() const {
  static const std::string none;
  return features_.empty() ? none : features_[0].subject.kind;
}

double InputFeatures::conditioning() const {
  double squared_means = 0;
  double largest = 0;
  double dimension = 0;
  for (const InputFeature& feature : features_) {
    if (!feature.seen) continue;
    const auto size = static_cast<double>(std::max<std::int64_t>(feature.subject.size, 1));
    squared_means += size * feature.values.mean() * feature.values.mean();
    largest = std::max(largest, feature.values.mean_square());
    dimension += size;
  }
  return dimension > 0 ? std::max(squared_means, largest) / dimension : 0;
}

double InputFeatures::minimum() const {
  double least = HUGE_VAL;
  for (const InputFeature& feature : features_)
    if (feature.seen) least = std::min(least, feature.minimum);
  return least;
}

double InputFeatures::maximum() const {
  double most = -HUGE_VAL;
  for (const InputFeature& feature : features_)
    if (feature.seen) most = std::max(most, feature.maximum);
  return most;
}

stats::Moments InputFeatures::pooled() const {
  stats::Moments moments;
  for (const InputFeature& feature : features_) {
    const auto size = static_cast<double>(std::max<std::int64_t>(feature.subject.size, 1));
    moments.add_group(size * feature.values.weight(), feature.values.mean(), feature.values.deviation());
  }
  return moments;
}

double InputFeatures::pixel_scale() const {
  struct Range {
    double above;
    double scale;
  };
  static constexpr std::array<Range, 3> kRanges{{{128, 255}, {2048, 4095}, {32768, 65535}}};
  // A handful of whole-numbered columns is a table, not a picture.
  if (!is_image() && features_.size() <= kFewFeatures && !(features_.size() == 1 && features_[0].subject.size > 64))
    return 1;
  const double most = maximum();
  if (minimum() < 0) return 1;
  stats::Moments integers;
  for (const InputFeature& feature : features_)
    if (feature.seen) integers.add_group(1, feature.integers.mean(), 0);
  for (const Range& range : kRanges) {
    if (!(most > range.above && most <= range.scale)) continue;
    // Resized pictures are not whole numbers any more, but keep the range.
    if (integers.mean() > 0.99 || (is_image() && most > 0.8 * range.scale)) return range.scale;
  }
  return 1;
}

Recommendation normalize_input(const InputFeatures& input) {
  const double scale = input.pixel_scale();
  const stats::Moments pooled = input.pooled();
  std::vector<double> means;
  std::vector<double> deviations;
  const bool one_for_all = !input.is_image() && scale != 1 && input.all().size() > kFewFeatures;
  if (one_for_all) {
    means = {pooled.mean() / scale};
    deviations = {usable_deviation(pooled.deviation() / scale, pooled.mean() / scale)};
  } else {
    for (const InputFeature& feature : input.all()) {
      if (!feature.seen) continue;
      means.push_back(feature.values.mean() / scale);
      deviations.push_back(usable_deviation(feature.values.deviation() / scale, means.back()));
    }
  }

  Recommendation advice;
  advice.id = "normalize-input";
  advice.confidence = 0.95;
  advice.why =
      "Centred inputs of size 1 make the first layer's loss surface round, so that one learning rate fits every "
      "direction. Use the same numbers for validation and inference.";
  advice.values = {{"scale", {scale}}, {"mean", means}, {"std", deviations}};
  const std::string divided = scale == 1 ? "" : fmt::format("Divide the input by {:.0f}, then subtract", scale);
  const std::string x = scale == 1 ? "x" : fmt::format("x.to(torch::kFloat32).div({:.0f})", scale);
  advice.text =
      fmt::format("{} the mean and divide by the standard deviation{}.", divided.empty() ? "Subtract" : divided,
                  means.size() == 1 ? fmt::format(" ({} and {})", number(means[0]), number(deviations[0])) : "");
  if (input.is_image()) {
    const std::string divide =
        scale == 1 ? ""
                   : fmt::format(
                         "    .map(torch::data::transforms::Lambda<torch::data::Example<>>([](torch::data::Example<> "
                         "example) {{\n"
                         "      example.data = example.data.to(torch::kFloat32).div({:.0f});\n"
                         "      return example;\n"
                         "    }}))\n",
                         scale);
    advice.code = fmt::format(
        "auto normalized = dataset\n{}"
        "    .map(torch::data::transforms::Normalize<>({{{}}}, {{{}}}))\n"
        "    .map(torch::data::transforms::Stack<>());",
        divide, literals(means), literals(deviations));
  } else if (means.size() == 1) {
    advice.code = fmt::format("x = ({} - {}) / {};", x, literal(means[0]), literal(deviations[0]));
  } else if (means.size() <= kFewFeatures) {
    advice.code = fmt::format(
        "const auto mean = torch::tensor({{{}}});\n"
        "const auto std = torch::tensor({{{}}});\n"
        "x = ({} - mean) / std;",
        literals(means), literals(deviations), x);
  } else {
    advice.code =
        "// Once, over the training data; keep mean and std with the model.\n"
        "const auto mean = x_train.mean(0);\n"
        "const auto std = x_train.std(0).clamp_min(1e-6);\n"
        "x = (x - mean) / std;";
  }
  return advice;
}

}  // namespace gradhealth::rules
