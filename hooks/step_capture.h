#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <ATen/core/Tensor.h>

#include "hooks/feature_sums.h"
#include "hooks/tensor_sums.h"
#include "hooks/watched_parameters.h"

namespace gradhealth::hooks {

/// One operator call whose output is recorded as an activation.
struct ActivationCall {
  int parent = -1;     ///< The call whose output it was applied to; -1 for a layer or a tap.
  std::string base;    ///< Layer: module path. Tap: its name. Otherwise: the operator.
  std::string module;
  std::string op;      ///< "conv2d", "relu"; in-place variants lose their underscore.
  std::string shape;
  std::string dtype;
  Units units = Units::kLastDimension;
  int pass = 0;              ///< Forward passes are counted within the step.
  bool superseded = false;   ///< The bias was added by an operator of its own: that call replaces this one.
  bool gradient_expected = false;
  bool gradient_seen = false;
  ActivationSums values;
  ElementSums gradient;
  std::optional<InputSums> input;  ///< Only for the first layer of the model.
};

/// What the operators of one recorded step have shown. Filled from the threads that run the model; `finish` ends it.
class StepCapture : public std::enable_shared_from_this<StepCapture> {
 public:
  /// What `begin` makes of an operator; travels to `end`.
  struct Claim {
    enum class Kind : std::uint8_t { kLayer, kDerivedWeight, kFollows } kind = Kind::kFollows;
    int parameter = -1;
    int parent = -1;  ///< The latest recorded call among the inputs.
    bool adds_bias = false;  ///< A layer's second half: the parent was its matrix product.
    std::optional<InputSums> input;
  };

  /// @param first_module the model's first layer, empty if not yet known; set when the first layer runs.
  StepCapture(std::shared_ptr<const StorageTable> table, std::shared_ptr<const std::vector<std::string>> modules,
              std::string first_module);

  /// At an operator's start. Empty if the operator does not concern this model.
  std::optional<Claim> begin(const std::string& op, const std::vector<at::Tensor>& inputs);
  /// At its end.
  void end(const std::string& op, Claim&& claim, const at::Tensor& output);
  void tap(const std::string& name, const at::Tensor& tensor);
  /// The gradients of the passes so far were discarded by the trainer: what is differentiated from now on is the step.
  void forget_gradients();
  void add_gradient(int call, const at::Tensor& gradient);
  void fail(const std::string& error) noexcept;

  /// The calls that belong to the training step: where a pass was differentiated, those that had a gradient; calls of
  /// passes without a backward are evaluation. Nothing is added afterwards.
  std::vector<ActivationCall> finish();
  const std::string& first_module() const { return first_module_; }
  std::string error() const;
  double own_seconds() const { return 1e-9 * static_cast<double>(own_nanoseconds_.load(std::memory_order_relaxed)); }
  void add_time(std::int64_t nanoseconds) { own_nanoseconds_.fetch_add(nanoseconds, std::memory_order_relaxed); }

 private:
  using WeakTensor = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;
  using WeakStorage = c10::weak_intrusive_ptr<c10::StorageImpl>;

  int parameter_of(const at::Tensor& tensor);
  int call_behind(const at::Tensor& tensor);
  void follow(const at::Tensor& tensor, int call);
  int add_call(ActivationCall&& call, const at::Tensor& output);

  std::shared_ptr<const StorageTable> table_;
  std::shared_ptr<const std::vector<std::string>> modules_;  ///< By parameter.
  mutable std::mutex mutex_;
  std::string first_module_;
  std::string error_;
  bool finished_ = false;
  bool backward_since_layer_ = false;
  int pass_ = 0;
  std::vector<ActivationCall> calls_;
  /// Outputs of recorded calls and what was made of them. Weak, because addresses of freed tensors are used again.
  std::unordered_map<const c10::TensorImpl*, std::pair<WeakTensor, int>> followed_;
  /// Tensors computed from parameters alone, such as a normalised weight.
  std::unordered_map<const void*, std::pair<WeakStorage, int>> derived_;
  std::atomic<std::int64_t> own_nanoseconds_{0};
};

}  // namespace gradhealth::hooks
