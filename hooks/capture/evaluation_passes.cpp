#include "hooks/capture/evaluation_passes.h"

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>

#include "hooks/capture/modes.h"
#include "hooks/capture/operator_kinds.h"
#include "hooks/statistics/feature_sums.h"
#include "hooks/statistics/reading.h"

namespace gradhealth::hooks {
namespace {

constexpr std::size_t kMostPasses = 4;
constexpr std::size_t kMostFollowed = 10'000;
constexpr std::int64_t kMostValues = 262'144;

EvaluationSums sums_of(const at::Tensor& input) {
  EvaluationSums sums;
  sums.passes = 1;
  sums.samples = input.size(0);
  if (reading_of(input) != Reading::kNow || input.layout() != at::kStrided || input.numel() == 0) return sums;
  const std::int64_t stride = (input.numel() + kMostValues - 1) / kMostValues;
  const InputSums read =
      input_sums(stride > 1 ? input.slice(0, 0, input.size(0), std::min(stride, input.size(0))) : input,
                 Units::kLastDimension, "");
  for (std::size_t i = 0; i < read.features.size(); ++i) {
    sums.values += read.features.finite[i];
    sums.sum += read.features.sum[i];
    sums.sum_squares += read.features.sum_squares[i];
  }
  return sums;
}

}  // namespace

bool may_begin_evaluation(std::string_view op) {
  switch (op.empty() ? '\0' : op.front()) {
    case '_':
    case 'c': return counts_channels(op);
    case 'a': return op == "addmm";
    case 'b': return op == "batch_norm" || op == "bmm" || op == "bilinear";
    case 'e': return op == "embedding" || op == "embedding_bag";
    case 'g': return op == "group_norm" || op == "gru" || op == "gru_cell";
    case 'i': return op == "instance_norm";
    case 'l': return op == "linear" || op == "layer_norm" || op == "lstm" || op == "lstm_cell";
    case 'm': return op == "mm" || op == "matmul";
    case 'r': return op == "rnn_relu" || op == "rnn_tanh";
    default: return false;
  }
}

EvaluationSums& EvaluationSums::operator+=(const EvaluationSums& other) {
  passes += other.passes;
  samples += other.samples;
  values += other.values;
  sum += other.sum;
  sum_squares += other.sum_squares;
  norms_training += other.norms_training;
  dropouts_training += other.dropouts_training;
  return *this;
}

EvaluationPasses::EvaluationPasses(std::shared_ptr<const StorageTable> table,
                                   std::shared_ptr<const ParameterList> parameters, std::string first_module)
    : table_(std::move(table)),
      parameters_(std::move(parameters)),
      first_module_(std::move(first_module)),
      looking_(!first_module_.empty()) {}

bool EvaluationPasses::begins_pass(std::string_view op, c10::ArrayRef<const at::Tensor*> tensors) {
  if (!may_begin_evaluation(op)) return false;
  const at::Tensor* data = nullptr;
  bool of_first = false;
  for (const at::Tensor* each : tensors) {
    if (!each->defined()) continue;
    const int parameter = table_->find(*each);
    if (parameter >= 0)
      of_first |= (*parameters_)[static_cast<std::size_t>(parameter)].module == first_module_;
    else if (!data && each->dim() > 1)
      data = each;
    else if (!data && each->dim() == 1 && !each->is_floating_point())
      data = each;  // Indices.
  }
  if (!of_first || !data || followed_.find(*data)) return false;
  if (passes_.size() >= kMostPasses) {
    in_pass_ = false;
    looking_ = false;
    return false;
  }
  passes_.push_back(sums_of(*data));
  in_pass_ = true;
  seen_ = true;
  thread_ = std::this_thread::get_id();
  return true;
}

bool EvaluationPasses::begin(std::string_view op, c10::ArrayRef<const c10::IValue> arguments,
                             c10::ArrayRef<const at::Tensor*> tensors) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!looking_) return false;
  const bool begins = begins_pass(op, tensors);
  if (!in_pass_ || thread_ != std::this_thread::get_id()) return false;
  const bool follows = std::any_of(tensors.begin(), tensors.end(),
                                   [this](const at::Tensor* t) { return t->defined() && followed_.find(*t); });
  if (!begins && !follows) return false;
  if (const std::optional<Mode> mode = mode_of(op, arguments); mode && mode->training)
    ++(mode->kind == Mode::Kind::kNorm ? passes_.back().norms_training : passes_.back().dropouts_training);
  return true;
}

void EvaluationPasses::end(c10::ArrayRef<const at::Tensor*> outputs) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (passes_.empty() || followed_.size() > kMostFollowed) return;
  for (const at::Tensor* output : outputs)
    if (output->defined()) followed_.add(*output, passes_.size() - 1);
}

void EvaluationPasses::interrupt(c10::ArrayRef<const at::Tensor*> inputs) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (thread_ == std::this_thread::get_id()) in_pass_ = false;
  for (const at::Tensor* input : inputs) {
    if (!input->defined() || !input->requires_grad()) continue;
    if (const std::size_t* pass = followed_.find(*input)) passes_[*pass] = {};
  }
}

EvaluationSums EvaluationPasses::finish() {
  const std::lock_guard<std::mutex> lock(mutex_);
  looking_ = false;
  in_pass_ = false;
  seen_ = false;
  followed_.clear();
  EvaluationSums all;
  for (const EvaluationSums& pass : passes_) all += pass;
  return all;
}

}  // namespace gradhealth::hooks
