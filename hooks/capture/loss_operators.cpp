#include "hooks/capture/loss_operators.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>
#include <fmt/format.h>

#include "hooks/capture/operator_details.h"
#include "hooks/statistics/tensor_sums.h"

namespace gradhealth::hooks {
namespace {

/// Classes beyond this are not told apart.
constexpr std::int64_t kMostClasses = 65'536;

enum class Classes : std::uint8_t { kNone, kIndices };

struct LossFunction {
  std::string_view op;
  int reduction;  ///< Which argument says how it is reduced; -1: none does.
  Classes classes = Classes::kNone;
  int ignored = -1;  ///< Which argument is the class index that is no target.
};

constexpr std::array<LossFunction, 17> kLossFunctions{{
    {"binary_cross_entropy", 3},
    {"binary_cross_entropy_with_logits", 4},
    {"cross_entropy_loss", 3, Classes::kIndices, 4},
    {"hinge_embedding_loss", 3},
    {"huber_loss", 2},
    {"kl_div", 2},
    {"l1_loss", 2},
    {"mse_loss", 2},
    {"multi_margin_loss", 5, Classes::kIndices},
    {"multilabel_margin_loss", 2},
    {"nll_loss", 3, Classes::kIndices, 4},
    {"nll_loss2d", 3, Classes::kIndices, 4},
    {"nll_loss_nd", 3, Classes::kIndices, 4},
    {"poisson_nll_loss", 5},
    {"rsub", -1},
    {"smooth_l1_loss", 2},
    {"soft_margin_loss", 2},
}};

const LossFunction* loss_function(std::string_view op) {
  const auto found = std::lower_bound(kLossFunctions.begin(), kLossFunctions.end(), op,
                                      [](const LossFunction& loss, std::string_view name) { return loss.op < name; });
  return found != kLossFunctions.end() && found->op == op ? &*found : nullptr;
}

bool is_difference(std::string_view op) { return op == "sub" || op == "rsub"; }

bool is_tensor(c10::ArrayRef<const c10::IValue> arguments, std::size_t index) {
  return index < arguments.size() && arguments[index].isTensor() && arguments[index].toTensor().defined();
}

std::string reduction_of(int index, c10::ArrayRef<const c10::IValue> arguments) {
  if (index < 0 || static_cast<std::size_t>(index) >= arguments.size()) return {};
  if (!arguments[static_cast<std::size_t>(index)].isInt()) return {};
  switch (arguments[static_cast<std::size_t>(index)].toInt()) {
    case at::Reduction::None: return "none";
    case at::Reduction::Mean: return "mean";
    case at::Reduction::Sum: return "sum";
    default: return {};
  }
}

std::string shape_of(const at::Tensor& tensor) { return tensor.dim() == 0 ? "scalar" : shape_text(tensor); }

std::string shape_without_batch(const at::Tensor& tensor) {
  std::string text = fmt::format("{}d", tensor.dim());
  for (std::int64_t d = 1; d < tensor.dim(); ++d) text += fmt::format("x{}", tensor.size(d));
  return text;
}

}  // namespace

TargetSums target_sums(const at::Tensor& target, std::optional<std::int64_t> ignored, std::int64_t most) {
  TargetSums sums;
  sums.floating = at::isFloatingType(target.scalar_type());
  const ValueTable table = value_table(target, most);
  if (!sums.floating) sums.classes.reserve(table.values.size());
  for (const double value : table.values) {
    if (!std::isfinite(value) || (ignored && value == static_cast<double>(*ignored))) continue;
    sums.values.add(value);
    if (!sums.floating && value >= 0 && value < static_cast<double>(kMostClasses))
      sums.classes.push_back(static_cast<std::int32_t>(value));
  }
  return sums;
}

bool may_compare(std::string_view op) { return op == "sub" || loss_function(op); }

std::optional<ComparedArguments> compared_arguments(std::string_view op, c10::ArrayRef<const c10::IValue> arguments) {
  if (!may_compare(op) || !is_tensor(arguments, 0) || !is_tensor(arguments, 1)) return std::nullopt;
  const at::Tensor& first = arguments[0].toTensor();
  const at::Tensor& second = arguments[1].toTensor();
  if (first.requires_grad() == second.requires_grad()) return std::nullopt;
  ComparedArguments compared;
  if (second.requires_grad()) std::swap(compared.prediction, compared.target);
  compared.by_hand = is_difference(op);
  const at::Tensor& target = compared.target == 1 ? second : first;
  // A number that is subtracted is no target.
  if (compared.by_hand && (target.dim() == 0 || target.numel() < 2 || !at::isFloatingType(target.scalar_type())))
    return std::nullopt;
  return compared;
}

Comparison comparison_of(std::string_view op, c10::ArrayRef<const c10::IValue> arguments,
                         const ComparedArguments& compared, std::int64_t most) {
  const at::Tensor& prediction = arguments[compared.prediction].toTensor();
  const at::Tensor& target = arguments[compared.target].toTensor();
  Comparison comparison;
  comparison.op = is_difference(op) ? "sub" : op;
  comparison.by_hand = compared.by_hand;
  comparison.prediction = shape_of(prediction) + ":" + dtype_text(prediction);
  comparison.target = shape_of(target) + ":" + dtype_text(target);
  const LossFunction* loss = loss_function(op);
  if (loss) comparison.reduction = reduction_of(loss->reduction, arguments);
  comparison.key =
      fmt::format("{} {}:{} {}:{} {}", comparison.op, shape_without_batch(prediction), dtype_text(prediction),
                  shape_without_batch(target), dtype_text(target), comparison.reduction);
  const bool indices = loss && loss->classes == Classes::kIndices;
  if (indices && prediction.dim() > 0) comparison.classes = prediction.size(prediction.dim() > 1 ? 1 : 0);
  std::optional<std::int64_t> ignored;
  if (indices && loss->ignored >= 0 && static_cast<std::size_t>(loss->ignored) < arguments.size() &&
      arguments[static_cast<std::size_t>(loss->ignored)].isInt())
    ignored = arguments[static_cast<std::size_t>(loss->ignored)].toInt();
  if (has_values(prediction)) {
    comparison.prediction_sums.emplace();
    comparison.prediction_sums->add(value_table(prediction, most));
  }
  if (has_values(target)) comparison.target_sums = target_sums(target, ignored, most);
  if (comparison.target_sums && !indices) comparison.target_sums->classes.clear();
  return comparison;
}

std::optional<OperatorPattern> broadcast_of(std::string_view op, const at::Tensor& left, const at::Tensor& right) {
  if (left.sizes() == right.sizes() || left.numel() == 0 || right.numel() == 0) return std::nullopt;
  std::vector<std::int64_t> sizes;
  try {
    sizes = at::infer_size(left.sizes(), right.sizes());
  } catch (const c10::Error&) {  // The trainer will hear of it from the operator.
    return std::nullopt;
  }
  const std::int64_t elements = c10::multiply_integers(sizes);
  if (elements <= left.numel() || elements <= right.numel()) return std::nullopt;
  OperatorPattern pattern;
  pattern.pattern = "broadcast-in-loss";
  pattern.op = op;
  pattern.left = shape_of(left);
  pattern.right = shape_of(right);
  for (const std::int64_t size : sizes) pattern.output += (pattern.output.empty() ? "" : "x") + std::to_string(size);
  pattern.key = fmt::format("broadcast-in-loss {} {} {}", op, left.dim(), right.dim());
  return pattern;
}

OperatorPattern pattern_of(std::string_view name, std::string_view op, const at::Tensor& input) {
  OperatorPattern pattern;
  pattern.pattern = name;
  pattern.op = op;
  pattern.left = pattern.output = shape_of(input);
  pattern.key = fmt::format("{} {} {}", name, op, input.dim());
  return pattern;
}

std::optional<OperatorPattern> softmax_over_one(std::string_view op, c10::ArrayRef<const c10::IValue> arguments) {
  const bool softmax = op == "softmax" || op == "log_softmax";
  if ((!softmax && op != "cross_entropy_loss") || !is_tensor(arguments, 0)) return std::nullopt;
  const at::Tensor& input = arguments[0].toTensor();
  if (input.dim() == 0) return std::nullopt;
  std::int64_t dimension = input.dim() > 1 ? 1 : 0;
  if (softmax) dimension = softmax_dimension(op, arguments);
  if (dimension < 0 || input.size(dimension) != 1) return std::nullopt;
  OperatorPattern pattern = pattern_of("softmax-over-one", op, input);
  pattern.of_output = softmax;
  return pattern;
}

}  // namespace gradhealth::hooks
