#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <c10/util/ArrayRef.h>

#include "hooks/capture/tensor_notes.h"
#include "hooks/capture/watched_parameters.h"

namespace gradhealth::hooks {

/// Whether a pass may begin with an operator: one that applies a weight. Cheap, because most of what
/// runs without gradients is an optimizer's, which uses none of them.
bool may_begin_evaluation(std::string_view op);

/// What passes without gradients have shown.
struct EvaluationSums {
  std::int64_t passes = 0;
  std::int64_t samples = 0;
  std::int64_t values = 0;  ///< Finite ones that were read of the inputs.
  double sum = 0;
  double sum_squares = 0;
  std::int64_t norms_training = 0;
  std::int64_t dropouts_training = 0;

  EvaluationSums& operator+=(const EvaluationSums& other);
};

/// Looks at a few of the passes through a model for which gradients are off, while a step is recorded. A pass begins
/// with the model's first layer, on one thread, and is what is made of its output there. Threads: any.
class EvaluationPasses {
 public:
  /// @param first_module empty: not known yet, so that no pass can be told.
  EvaluationPasses(std::shared_ptr<const StorageTable> table, std::shared_ptr<const ParameterList> parameters,
                   std::string first_module);

  /// Whether there is anything left to look at.
  bool looking() const { return looking_.load(std::memory_order_relaxed); }
  /// Whether a pass has begun so far.
  bool seen() const { return seen_.load(std::memory_order_relaxed); }
  /// At the start of an operator for which gradients are off. @returns whether its end is wanted, too.
  bool begin(std::string_view op, c10::ArrayRef<const c10::IValue> arguments, c10::ArrayRef<const at::Tensor*> tensors);
  void end(c10::ArrayRef<const at::Tensor*> outputs);
  /// Before an operator for which gradients are on: no pass goes on; and one whose result it takes and differentiates
  /// was a checkpoint's, and no evaluation.
  void interrupt(c10::ArrayRef<const at::Tensor*> inputs);
  /// What there was; nothing more is added.
  EvaluationSums finish();

 private:
  bool begins_pass(std::string_view op, c10::ArrayRef<const at::Tensor*> tensors);

  std::shared_ptr<const StorageTable> table_;
  std::shared_ptr<const ParameterList> parameters_;
  std::string first_module_;
  std::atomic<bool> looking_;
  std::atomic<bool> seen_{false};
  std::mutex mutex_;
  std::thread::id thread_;  ///< Of the pass in progress.
  bool in_pass_ = false;
  std::vector<EvaluationSums> passes_;
  TensorNotes<std::size_t> followed_;  ///< What was made in which pass.
};

}  // namespace gradhealth::hooks
