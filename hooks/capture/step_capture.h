#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/operator_name.h>
#include <c10/util/ArrayRef.h>
#include <c10/util/SmallVector.h>

#include "hooks/capture/activation_call.h"
#include "hooks/capture/claims.h"
#include "hooks/capture/evaluation_passes.h"
#include "hooks/capture/operator_notes.h"
#include "hooks/capture/probe_ends.h"
#include "hooks/capture/strangers.h"
#include "hooks/capture/watched_parameters.h"

namespace gradhealth::hooks {

/// An operator's tensors. Few enough, nearly always, to need no memory of their own.
using TensorPointers = c10::SmallVector<const at::Tensor*, 16>;

/// What the operators of one recorded step have shown. Filled from the threads that run the model; `finish` ends it.
class StepCapture : public std::enable_shared_from_this<StepCapture> {
 public:
  /// @param first_module the model's first layer, empty if not yet known; set when the first layer runs.
  StepCapture(std::shared_ptr<const StorageTable> table, std::shared_ptr<const ParameterList> parameters,
              std::string first_module);

  /// How much of each activation is read; everything unless this is called, before the first operator.
  void sample(const Sampling& sampling) { sampling_ = sampling; }
  /// Before the first operator: keep values of the input for its histogram.
  void keep_input_values() { input_values_ = InputValues::kSampled; }
  /// Before the first operator: differences are not looked at, since the loss is another operator.
  void compare_named_only() { compares_by_hand_ = false; }
  /// At an operator's start. Empty if the operator does not concern this model.
  std::optional<Claim> begin(std::string_view op, c10::ArrayRef<const at::Tensor*> inputs);
  /// At the start of an operator that was claimed. @param arguments its own.
  void look(std::string_view op, c10::ArrayRef<const c10::IValue> arguments, Claim& claim);
  /// At its end.
  void end(std::string_view op, Claim&& claim, c10::ArrayRef<const at::Tensor*> outputs);
  void tap(const std::string& name, const at::Tensor& tensor);
  /// What the loss's targets, and the model's input, are, whatever operators show.
  void give_target(const at::Tensor& target);
  void give_input(const at::Tensor& input);
  /// The gradients of the passes so far were discarded by the trainer: what is differentiated from now on is the step.
  void forget_gradients();
  void add_gradient(int call, const at::Tensor& gradient);
  void fail(const std::string& error) noexcept;

  /// The passes of this model for which gradients are off.
  EvaluationPasses& evaluation() { return evaluation_; }

  /// Before the step begins: keep what a probe needs of the model's two ends.
  void keep_ends() { keeps_ends_ = true; }
  bool keeps_ends() const { return keeps_ends_; }
  /// At the start of an operator that `begin` has claimed as the first layer. @param arguments its whole stack.
  void keep_first(std::string_view op, const c10::OperatorName& name, c10::ArrayRef<const c10::IValue> arguments);
  /// What has been kept so far; this holds it no longer.
  ProbeEnds take_ends();
  /// The calls whose graph is alive, in forward order.
  std::vector<ProbeTap> probe_taps() const;
  void set_probe(int call, const ActivationProbe& probe);

  /// The calls that belong to the training step: where a pass was differentiated, those that had a gradient; calls of
  /// passes without a backward are evaluation. Nothing is added afterwards.
  std::vector<ActivationCall> finish();
  /// Known once the step has finished; this holds it no longer.
  StepFacts take_facts();
  /// Will bring the numbers of activations on a device; to be started after `finish`.
  const std::shared_ptr<Readback>& readback() const { return readback_; }
  /// Known once the step has finished.
  const std::vector<Stranger>& strangers() const { return claims_.strangers(); }
  const std::string& first_module() const { return first_module_; }
  std::string error() const;
  double own_seconds() const { return 1e-9 * static_cast<double>(own_nanoseconds_.load(std::memory_order_relaxed)); }
  void add_time(std::int64_t nanoseconds) { own_nanoseconds_.fetch_add(nanoseconds, std::memory_order_relaxed); }

 private:
  TensorOrigin origin_of(const at::Tensor& tensor) const;
  int begin_pass();
  void note_comparison(Claim& claim, const at::Tensor& output);
  int take_outputs(std::string_view op, Claim& claim, c10::ArrayRef<const at::Tensor*> outputs);
  void follow_outputs(std::string_view op, const Claim& claim, c10::ArrayRef<const at::Tensor*> outputs);
  void note_call(Claim& claim, int call);
  ActivationCall describe(std::string_view op, Claim& claim);
  int record(ActivationCall&& call, const at::Tensor& output, const std::optional<Saturation>& saturation = {});
  ActivationSums read(const at::Tensor& tensor, Units units, const Outside* outside = nullptr);
  int add_call(ActivationCall&& call, const at::Tensor& output);

  void read_input(std::string_view op, Claim& claim);
  InputSums read_input(const at::Tensor& tensor, Units units, std::string kind);

  std::shared_ptr<Readback> readback_ = std::make_shared<Readback>();
  mutable std::mutex mutex_;
  std::string first_module_;
  std::string error_;
  bool finished_ = false;
  Sampling sampling_;
  InputValues input_values_ = InputValues::kSummed;
  std::unordered_map<std::thread::id, int> passes_;  ///< Each thread's latest pass.
  std::vector<bool> differentiated_;                 ///< By pass: the next layer on its thread begins another one.
  std::vector<ActivationCall> calls_;
  Claims claims_;
  StepFacts facts_;
  bool compares_by_hand_ = true;
  EvaluationPasses evaluation_;
  bool keeps_ends_ = false;
  ProbeEnds ends_;
  std::atomic<std::int64_t> own_nanoseconds_{0};
};

}  // namespace gradhealth::hooks
