#include "hooks/capture/operator_notes.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <ATen/ATen.h>

namespace gradhealth::hooks {
namespace {

// What is added to probabilities so that their logarithm is finite.
constexpr double kNextToNothing = 1e-3;

constexpr std::size_t kFewComparisons = 8;
constexpr std::size_t kMostComparisons = 256;
constexpr std::size_t kMostModes = 20'000;

constexpr std::int64_t kFewValues = 16'384;
constexpr std::int64_t kManyValues = 65'536;

bool is_tensor(c10::ArrayRef<const c10::IValue> arguments, std::size_t index) {
  return index < arguments.size() && arguments[index].isTensor() && arguments[index].toTensor().defined();
}

bool adds_next_to_nothing(std::string_view op, c10::ArrayRef<const c10::IValue> arguments) {
  if (op != "add" || arguments.size() < 2) return false;
  const c10::IValue& added = arguments[1];
  if (added.isDouble()) return std::fabs(added.toDouble()) <= kNextToNothing;
  if (!is_tensor(arguments, 1)) return false;
  const at::Tensor& tensor = added.toTensor();
  return tensor.dim() == 0 && has_values(tensor) && std::fabs(tensor.item<double>()) <= kNextToNothing;
}

/// The two tensors that the operator broadcasts, if it is one that may compare them elementwise.
std::vector<at::Tensor> broadcast_tensors(std::string_view op, c10::ArrayRef<const c10::IValue> arguments) {
  if (op == "broadcast_tensors" && arguments.size() == 1 && arguments[0].isTensorList())
    return arguments[0].toTensorVector();
  if (op != "mul" && op != "div" && !may_compare(op)) return {};
  if (!is_tensor(arguments, 0) || !is_tensor(arguments, 1)) return {};
  return {arguments[0].toTensor(), arguments[1].toTensor()};
}

class Notes {
 public:
  Notes(std::string_view op, c10::ArrayRef<const c10::IValue> arguments, const NoteOptions& options,
        const FindOrigin& origin_of)
      : op_(op), arguments_(arguments), options_(options), origin_of_(origin_of) {}

  void compare() {
    const std::optional<ComparedArguments> compared = compared_arguments(op_, arguments_);
    if (!compared || (compared->by_hand && !options_.compares_by_hand)) return;
    const TensorOrigin origin = origin_of_(arguments_[compared->prediction].toTensor());
    if (origin.call < 0) return;
    Comparison comparison = comparison_of(op_, arguments_, *compared, options_.exact ? kManyValues : kFewValues);
    comparison.call = origin.call;
    comparison.is_output = origin.is_output;
    comparison.produced_by = origin.produced_by;
    if (comparison.classes > 0) find_softmax_beside_classes(arguments_[compared->prediction].toTensor(), origin);
    notes().comparison = std::move(comparison);
  }

  void find_broadcast() {
    const std::vector<at::Tensor> tensors = broadcast_tensors(op_, arguments_);
    if (tensors.size() != 2 || tensors[0].requires_grad() == tensors[1].requires_grad()) return;
    if (tensors[0].dim() == 0 || tensors[1].dim() == 0) return;
    const bool by_hand = op_ == "mul" || op_ == "div" || op_ == "sub" || op_ == "rsub" || op_ == "broadcast_tensors";
    if (notes_ && notes_->comparison && notes_->comparison->classes > 0) return;
    std::optional<OperatorPattern> pattern = broadcast_of(op_, tensors[0], tensors[1]);
    if (!pattern) return;
    pattern->call = origin_of_(tensors[0].requires_grad() ? tensors[0] : tensors[1]).call;
    if (pattern->call < 0) return;
    pattern->needs_loss = by_hand;
    if (by_hand && !notes().comparison) {
      Comparison comparison;  // Only to see whether it becomes a loss.
      comparison.op = op_;
      comparison.call = pattern->call;
      comparison.by_hand = true;
      comparison.counts = false;
      notes().comparison = std::move(comparison);
    }
    notes().patterns.push_back(std::move(*pattern));
  }

  void find_softmax() {
    if (const std::int64_t along = softmax_dimension(op_, arguments_); along >= 0) notes().softmax_along = along;
    if (std::optional<OperatorPattern> pattern = softmax_over_one(op_, arguments_)) {
      pattern->call = origin_of_(arguments_[0].toTensor()).call;
      notes().patterns.push_back(std::move(*pattern));
    }
    if (op_ != "log" || !is_tensor(arguments_, 0)) return;
    const TensorOrigin origin = origin_of_(arguments_[0].toTensor());
    if (origin.produced_by != "softmax") return;
    OperatorPattern pattern = pattern_of("log-of-softmax", op_, arguments_[0].toTensor());
    pattern.call = origin.producer;
    notes().patterns.push_back(std::move(pattern));
  }

  void look_closer() {
    if (const std::optional<Mode> mode = mode_of(op_, arguments_)) notes().mode = mode;
    if (adds_next_to_nothing(op_, arguments_)) notes().keeps_values = true;
    if (!has_detail(op_)) return;
    notes().saturation = saturation_of(op_, arguments_);
    notes().detail = detail_before(op_, arguments_, options_.exact);
  }

  std::unique_ptr<OperatorNotes> take() { return std::move(notes_); }

 private:
  /// Probabilities are to sum to 1 over what the loss takes for the classes. Where shapes differ, or sizes do not tell
  /// the two dimensions apart, something may have been transposed in between.
  void find_softmax_beside_classes(const at::Tensor& prediction, const TensorOrigin& origin) {
    const std::int64_t classes = prediction.dim() > 1 ? 1 : 0;
    if (origin.along < 0 || origin.along == classes || prediction.sizes() != origin.sizes) return;
    if (prediction.size(origin.along) == prediction.size(classes)) return;
    OperatorPattern pattern = pattern_of("softmax-beside-classes", origin.produced_by, prediction);
    pattern.along = origin.along;
    pattern.call = origin.producer;
    notes().patterns.push_back(std::move(pattern));
  }

  OperatorNotes& notes() {
    if (!notes_) notes_ = std::make_unique<OperatorNotes>();
    return *notes_;
  }

  std::string_view op_;
  c10::ArrayRef<const c10::IValue> arguments_;
  const NoteOptions& options_;
  const FindOrigin& origin_of_;
  std::unique_ptr<OperatorNotes> notes_;
};

bool is_of_interest(std::string_view op) {
  return may_compare(op) || may_have_mode(op) || has_detail(op) || op == "add" || op == "mul" || op == "div" ||
         op == "log" || op == "log_softmax" || op == "broadcast_tensors";
}

}  // namespace

std::unique_ptr<OperatorNotes> notes_on(std::string_view op, c10::ArrayRef<const c10::IValue> arguments,
                                        const NoteOptions& options, const FindOrigin& origin_of) {
  if (!is_of_interest(op)) return nullptr;
  Notes notes(op, arguments, options, origin_of);
  notes.compare();
  notes.find_broadcast();
  notes.find_softmax();
  notes.look_closer();
  return notes.take();
}

bool StepFacts::may_compare_by_hand() const { return comparisons.size() < kFewComparisons; }

int StepFacts::add(Comparison&& comparison, int of) {
  if (comparisons.size() >= kMostComparisons) return of;
  comparison.of = of;
  comparisons.push_back(std::move(comparison));
  return static_cast<int>(comparisons.size()) - 1;
}

void StepFacts::reduce(int comparison) {
  while (comparison >= 0) {
    Comparison& reduced = comparisons[static_cast<std::size_t>(comparison)];
    reduced.reduced = true;
    comparison = reduced.of;
  }
}

void StepFacts::add(Mode mode, int call) {
  if (modes.size() >= kMostModes) return;
  mode.call = call;
  modes.push_back(mode);
}

void StepFacts::add(std::vector<OperatorPattern>&& found, int own_call, int comparison) {
  for (OperatorPattern& pattern : found) {
    if (patterns.size() >= kMostComparisons) return;
    if (pattern.of_output) pattern.call = own_call;
    if (pattern.needs_loss) pattern.comparison = comparison;
    patterns.push_back(std::move(pattern));
  }
}

void StepFacts::give(TargetSums&& target) {
  if (given_targets.size() < kMostComparisons) given_targets.push_back(std::move(target));
}

void StepFacts::give(InputSums&& input) {
  if (given_inputs.size() < kMostComparisons) given_inputs.push_back(std::move(input));
}

}  // namespace gradhealth::hooks
