#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <gradhealth/diagnosis.h>
#include <gradhealth/errors.h>
#include <gradhealth/hooks_fix.h>
#include <gradhealth/run_file.h>

namespace gradhealth::fix {
namespace {

constexpr const char* kInputRule = "unnormalized-input";
constexpr std::size_t kFewSteps = 20;

const std::vector<double>& numbers(const Recommendation& advice, const char* name) {
  static const std::vector<double> none;
  for (const auto& [key, values] : advice.values)
    if (key == name) return values;
  return none;
}

/// The rule's own recommendation: a threshold of zero makes it speak of any input.
Recommendation advice_for(const RunReader& reader) {
  const Rule& rule = *find_rule(catalogue(), kInputRule);
  const auto judge = rule.make_judge({{"conditioning", 0}, {"rms", 0}});
  reader.for_each_step([&](const StepRecord& row) { judge->observe(reader.run(), row); });
  const Outcome outcome = judge->outcome();
  if (const auto* found = std::get_if<Unhealthy>(&outcome))
    for (const Recommendation& advice : found->findings.front().recommendations)
      if (advice.id == "normalize-input") return advice;
  const auto* skipped = std::get_if<NotEvaluated>(&outcome);
  throw UsageError(fmt::format("{}: has no input to normalise: {}", reader.path().string(),
                               skipped ? skipped->reason : "it does not vary"));
}

void collect_errors(const std::vector<DiagnosedFinding>& findings, std::int64_t& first) {
  for (const DiagnosedFinding& each : findings) {
    if (each.finding.severity == Severity::kError) first = std::min(first, each.finding.first_step);
    collect_errors(each.consequences, first);
  }
}

std::int64_t first_error(const RunReader& reader) {
  Diagnoser diagnoser;
  reader.for_each_step([&](const StepRecord& row) { diagnoser.observe(reader.run(), row); });
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  collect_errors(diagnoser.diagnosis().roots, first);
  return first;
}

}  // namespace

at::Tensor InputNormalization::apply(const at::Tensor& sample) const {
  const at::Tensor x = sample.scalar_type() == at::kDouble ? sample : sample.to(at::kFloat);
  std::vector<std::int64_t> shape(static_cast<std::size_t>(x.dim()), 1);
  if (!shape.empty()) shape[channels ? 0 : shape.size() - 1] = -1;
  const auto row = [&](const std::vector<double>& values) {
    return at::tensor(values, x.options().dtype(at::kDouble)).to(x.scalar_type()).view(shape);
  };
  return (x / scale - row(mean)) / row(std);
}

InputNormalization input_normalization(const std::filesystem::path& run) {
  const RunReader reader(run_files(run).front());
  const Recommendation advice = advice_for(reader);
  InputNormalization normalization;
  const std::vector<double>& scale = numbers(advice, "scale");
  normalization.scale = scale.empty() ? 1 : scale.front();
  normalization.mean = numbers(advice, "mean");
  normalization.std = numbers(advice, "std");
  normalization.channels = reader.run().of(Axis::kFeature).front().name.rfind("channel", 0) == 0;
  return normalization;
}

torch::data::transforms::TensorLambda<> input_normalizer(const std::filesystem::path& run) {
  return torch::data::transforms::TensorLambda<>(
      [by = input_normalization(run)](const at::Tensor& sample) { return by.apply(sample); });
}

double clip_threshold(const std::filesystem::path& run, double percentile) {
  if (!(percentile > 0 && percentile <= 1))
    throw UsageError(fmt::format("a percentile of {}; it is a share of the steps, above 0 and up to 1", percentile));
  const RunReader reader(run_files(run).front());
  const std::int64_t end = first_error(reader);
  std::vector<double> norms;
  reader.for_each_step([&](const StepRecord& row) {
    const double norm = row.at(Quantity::kGlobalGradientNorm);
    if (row.step < end && std::isfinite(norm)) norms.push_back(norm);
  });
  if (norms.size() < kFewSteps)
    throw UsageError(fmt::format("{}: has {} healthy steps with a gradient norm; a threshold takes at least {}",
                                 run.string(), norms.size(), kFewSteps));
  const auto place = static_cast<std::ptrdiff_t>(std::ceil(percentile * static_cast<double>(norms.size()))) - 1;
  std::nth_element(norms.begin(), norms.begin() + place, norms.end());
  return norms[static_cast<std::size_t>(place)];
}

}  // namespace gradhealth::fix
