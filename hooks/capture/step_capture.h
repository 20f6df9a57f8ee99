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
#include <unordered_set>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/operator_name.h>
#include <c10/util/ArrayRef.h>
#include <c10/util/SmallVector.h>

#include "hooks/capture/activation_call.h"
#include "hooks/capture/evaluation_passes.h"
#include "hooks/capture/operator_notes.h"
#include "hooks/capture/probe_ends.h"
#include "hooks/capture/strangers.h"
#include "hooks/capture/tensor_notes.h"
#include "hooks/capture/watched_parameters.h"

namespace gradhealth::hooks {

/// An operator's tensors. Few enough, nearly always, to need no memory of their own.
using TensorPointers = c10::SmallVector<const at::Tensor*, 16>;
/// What the operators of one recorded step have shown. Filled from the threads that run the model; `finish` ends it.
class StepCapture : public std::enable_shared_from_this<StepCapture> {
 public:
  /// What `begin` makes of an operator; travels to `end`.
  struct Claim {
    enum class Kind : std::uint8_t {
      kLayer,
      kDerivedWeight,
      kFollows,  ///< It makes something of recorded outputs, of strangers' outputs, or both.
    } kind = Kind::kFollows;
    int parameter = -1;      ///< Names the module.
    int weight = -1;         ///< The parameter of most dimensions.
    int parent = -1;         ///< The latest recorded call among the inputs.
    int stranger = -1;       ///< The stranger behind an input.
    bool adds_bias = false;  ///< A layer's second half: the parent was its matrix product.
    bool of_output = false;  ///< What comes from the parent is its output, in whatever shape.
    int comparison = -1;     ///< The latest of those that an input was made of without a further activation.
    std::optional<InputSums> input;
    std::unique_ptr<OperatorNotes> notes;
  };

  /// @param first_module the model's first layer, empty if not yet known; set when the first layer runs.
  StepCapture(std::shared_ptr<const StorageTable> table, std::shared_ptr<const ParameterList> parameters,
              std::string first_module);

  /// How much of each activation is read; everything unless this is called, before the first operator.
  void sample(const Sampling& sampling) { sampling_ = sampling; }
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
  const std::vector<Stranger>& strangers() const { return strangers_; }
  const std::string& first_module() const { return first_module_; }
  std::string error() const;
  double own_seconds() const { return 1e-9 * static_cast<double>(own_nanoseconds_.load(std::memory_order_relaxed)); }
  void add_time(std::int64_t nanoseconds) { own_nanoseconds_.fetch_add(nanoseconds, std::memory_order_relaxed); }

 private:
  using WeakStorage = c10::weak_intrusive_ptr<c10::StorageImpl>;

  /// The parts that an operator's inputs play.
  struct Roles {
    const at::Tensor* weight = nullptr;    ///< The parameter of most dimensions.
    const at::Tensor* data = nullptr;      ///< The first other tensor that is no scalar, if possible no leaf either.
    const at::Tensor* stranger = nullptr;  ///< The unknown leaf of most dimensions.
    int weight_parameter = -1;             ///< Which parameter the weight is.
    int parameter = -1;                    ///< The parameter that names the module.
    int parent = -1;
    bool of_output = false;
    int comparison = -1;
    int behind_stranger = -1;
  };
  /// What a tensor was made of.
  struct Trail {
    int call = -1;
    bool is_output = false;
    int comparison = -1;
  };

  Roles roles_of(c10::ArrayRef<const at::Tensor*> inputs);
  bool names_better(int parameter, const at::Tensor& tensor, const Roles& roles) const;
  std::optional<Claim> claim_of(std::string_view op, const Roles& roles);
  const WatchedParameter& watched(int parameter) const { return (*parameters_)[static_cast<std::size_t>(parameter)]; }
  bool tied(int parameter) const { return watched(parameter).name.find('|') != std::string::npos; }
  const std::string& module_named_by(int parameter) const { return watched(parameter).module; }
  int parameter_of(const at::Tensor& tensor) const;
  Trail trail_of(const at::Tensor& tensor) const;
  TensorOrigin origin_of(const at::Tensor& tensor) const;
  int stranger_behind(const at::Tensor& tensor) const;
  bool is_input(const at::Tensor& leaf) const;
  bool refresh_table(const at::Tensor& leaf);
  int meet_stranger(std::string_view op, const at::Tensor& leaf, int parent);
  void resolve_strangers();
  void follow(const at::Tensor& tensor, const Trail& trail, int stranger);
  void derive(const at::Tensor& tensor, int parameter);
  int begin_pass();
  void note_comparison(Claim& claim, const at::Tensor& output);
  int take_outputs(std::string_view op, Claim& claim, c10::ArrayRef<const at::Tensor*> outputs);
  void follow_outputs(std::string_view op, const Claim& claim, c10::ArrayRef<const at::Tensor*> outputs);
  void note_call(Claim& claim, int call);
  ActivationCall describe(std::string_view op, Claim& claim);
  int record(ActivationCall&& call, const at::Tensor& output, const std::optional<Saturation>& saturation = {});
  ActivationSums read(const at::Tensor& tensor, Units units, const Outside* outside = nullptr);
  int add_call(ActivationCall&& call, const at::Tensor& output);

  std::shared_ptr<const StorageTable> table_;
  std::shared_ptr<const ParameterList> parameters_;
  std::shared_ptr<Readback> readback_ = std::make_shared<Readback>();
  mutable std::mutex mutex_;
  std::string first_module_;
  std::string error_;
  bool finished_ = false;
  Sampling sampling_;
  std::unordered_map<std::thread::id, int> passes_;  ///< Each thread's latest pass.
  std::vector<bool> differentiated_;                 ///< By pass: the next layer on its thread begins another one.
  std::vector<ActivationCall> calls_;
  TensorNotes<Trail> followed_;      ///< Outputs of recorded calls and what was made of them.
  TensorNotes<int> from_strangers_;  ///< The same of strangers.
  /// Tensors computed from parameters alone, such as a normalised weight.
  std::unordered_map<const void*, std::pair<WeakStorage, int>> derived_;
  std::vector<bool> used_;                          ///< By parameter: an operator has read it.
  std::unordered_set<const void*> unknown_leaves_;  ///< The table was up to date when they were met.
  std::unordered_set<const void*> inputs_;          ///< Storages of leaves that layers have taken for their data.
  std::vector<Stranger> strangers_;
  StepFacts facts_;
  bool compares_by_hand_ = true;
  EvaluationPasses evaluation_;
  bool keeps_ends_ = false;
  ProbeEnds ends_;
  std::atomic<std::int64_t> own_nanoseconds_{0};
};

}  // namespace gradhealth::hooks
