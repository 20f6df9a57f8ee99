#include "hooks/capture/operator_details.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ATen.h>

#include "hooks/statistics/value_table.h"

namespace gradhealth::hooks {
namespace {

// Where the derivative is 1 % of its maximum: s (1 - s) = 0.01 / 4 and 1 - t² = 0.01.
constexpr float kSigmoidTail = 0.00250628f;
constexpr float kTanhTail = 0.99498744f;
constexpr float kCertain = 0.99f;
// Read of inputs of more than kSampledElements where not everything is read whole.
constexpr std::int64_t kFewValues = 16'384;
// At least, of a batch normalisation's channel: its divergence from itself is 1/128 nat then.
constexpr std::int64_t kFewOfChannel = 128;
// What is added to a softmax's input to exclude it, by those who do not add minus infinity.
constexpr double kMasked = -1e4;

const at::Tensor* tensor_in(c10::ArrayRef<const c10::IValue> arguments, std::size_t index) {
  if (index >= arguments.size() || !arguments[index].isTensor()) return nullptr;
  const at::Tensor& tensor = arguments[index].toTensor();
  return tensor.defined() ? &tensor : nullptr;
}

void add_logits(const at::Tensor& input, std::int64_t dimension, std::int64_t most, OperatorDetail& detail) {
  const at::Tensor rows = input.detach().movedim(dimension, -1).reshape({-1, input.size(dimension)});
  const ValueTable table = value_table(rows, most);
  for (std::int64_t row = 0; row < table.rows; ++row) {
    ValueSums logits;
    for (std::int64_t i = 0; i < table.columns; ++i) {
      const double value = table.values[static_cast<std::size_t>(row * table.columns + i)];
      if (std::isfinite(value) && value >= kMasked) logits.add(value);
      detail.masked += value < kMasked;
    }
    detail.logits += table.columns;
    if (logits.count() < 2) continue;
    detail.logit_variances += logits.std() * logits.std();
    ++detail.distributions;
  }
}

/// Kullback-Leibler divergence of the running normal distribution from the batch's.
double gap(const ValueSums& batch, double running_mean, double running_variance, double epsilon) {
  const double count = static_cast<double>(batch.count());
  const double variance = batch.std() * batch.std() * count / (count - 1) + epsilon;
  const double running = running_variance + epsilon;
  const double shift = batch.mean() - running_mean;
  return 0.5 * (std::log(running / variance) + (variance + shift * shift) / running - 1);
}

/// What a batch normalisation averages over, a row for each sample and position. Of a large input there are fewer
/// positions, not fewer samples: neighbours in an image say nearly the same.
at::Tensor channel_rows(const at::Tensor& input, std::int64_t most) {
  if (input.dim() == 2) return input.detach();
  at::Tensor positions = input.detach().flatten(2);
  const std::int64_t count = positions.size(2);
  if (positions.numel() > most)
    positions = positions.slice(2, 0, count, std::min(stride_for(positions.numel(), most), count));
  return positions.movedim(1, -1).reshape({-1, input.size(1)});
}

void add_statistics_gap(const at::Tensor& input, c10::ArrayRef<const c10::IValue> arguments, std::int64_t most,
                        OperatorDetail& detail) {
  const at::Tensor* mean = tensor_in(arguments, 3);
  const at::Tensor* variance = tensor_in(arguments, 4);
  if (arguments.size() < 8 || !arguments[5].isBool() || !arguments[5].toBool() || !mean || !variance) return;
  if (!has_values(*mean) || !has_values(*variance) || input.dim() < 2 || !arguments[7].isDouble()) return;
  const std::int64_t channels = input.size(1);
  most = std::max(most, kFewOfChannel * channels);
  const ValueTable batch = value_table(channel_rows(input, most), most);
  const ValueTable means = value_table(*mean, channels);
  const ValueTable variances = value_table(*variance, channels);
  if (batch.rows < 2 || batch.columns != channels || means.rows != channels || variances.rows != channels) return;
  double sum = 0;
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    ValueSums sums;
    for (std::int64_t row = 0; row < batch.rows; ++row)
      sums.add(batch.values[static_cast<std::size_t>(row * channels + channel)]);
    const auto index = static_cast<std::size_t>(channel);
    sum += gap(sums, means.values[index], variances.values[index], arguments[7].toDouble());
  }
  if (!std::isfinite(sum)) return;
  detail.statistics_gap += sum / static_cast<double>(channels);
  ++detail.gaps;
}

void add_padding(c10::ArrayRef<const c10::IValue> arguments, OperatorDetail& detail) {
  const at::Tensor* indices = tensor_in(arguments, 1);
  if (!indices || arguments.size() < 3 || !arguments[2].isInt() || !has_values(*indices)) return;
  const std::int64_t padding = arguments[2].toInt();
  if (padding < 0 || indices->numel() == 0) return;
  const ValueTable table = value_table(indices->dim() == 2 ? *indices : indices->reshape({-1, 1}), kSampledElements);
  for (const double index : table.values) detail.padding += index == static_cast<double>(padding);
  detail.indices += static_cast<std::int64_t>(table.values.size());
}

}  // namespace

OperatorDetail& OperatorDetail::operator+=(const OperatorDetail& other) {
  saturated += other.saturated;
  saturable += other.saturable;
  logit_variances += other.logit_variances;
  distributions += other.distributions;
  statistics_gap += other.statistics_gap;
  gaps += other.gaps;
  logits += other.logits;
  masked += other.masked;
  indices += other.indices;
  padding += other.padding;
  return *this;
}

std::int64_t softmax_dimension(std::string_view op, c10::ArrayRef<const c10::IValue> arguments) {
  if (op != "softmax" && op != "log_softmax") return -1;
  const at::Tensor* input = tensor_in(arguments, 0);
  if (!input || arguments.size() < 2 || !arguments[1].isInt()) return -1;
  std::int64_t dimension = arguments[1].toInt();
  if (dimension < 0) dimension += input->dim();
  return dimension >= 0 && dimension < input->dim() ? dimension : -1;
}

std::optional<Saturation> saturation_of(std::string_view op, c10::ArrayRef<const c10::IValue> arguments) {
  if (op == "sigmoid") return Saturation{{kSigmoidTail, 1 - kSigmoidTail}, 1};
  if (op == "tanh") return Saturation{{-kTanhTail, kTanhTail}, 1};
  const std::int64_t dimension = op == "softmax" ? softmax_dimension(op, arguments) : -1;
  const std::int64_t size = dimension >= 0 ? tensor_in(arguments, 0)->size(dimension) : 0;
  if (size < 2) return std::nullopt;
  return Saturation{{-std::numeric_limits<float>::infinity(), kCertain}, static_cast<double>(size)};
}

bool has_detail(std::string_view op) {
  return op == "softmax" || op == "embedding" || op == "batch_norm" || op == "sigmoid" || op == "tanh";
}

OperatorDetail detail_before(std::string_view op, c10::ArrayRef<const c10::IValue> arguments, bool exact) {
  OperatorDetail detail;
  if (op == "embedding") {
    add_padding(arguments, detail);
    return detail;
  }
  const at::Tensor* input = tensor_in(arguments, 0);
  if (!input || !has_values(*input) || input->numel() == 0) return detail;
  const std::int64_t most = exact || input->numel() <= kSampledElements ? kSampledElements : kFewValues;
  if (op == "batch_norm") add_statistics_gap(*input, arguments, most, detail);
  if (op != "softmax") return detail;
  const std::int64_t dimension = softmax_dimension(op, arguments);
  if (dimension >= 0 && input->size(dimension) > 1) add_logits(*input, dimension, most, detail);
  return detail;
}

}  // namespace gradhealth::hooks
