#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
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
#include <torch/csrc/autograd/edge.h>

#include "hooks/capture/strangers.h"
#include "hooks/capture/watched_parameters.h"
#include "hooks/probes/operator_replay.h"
#include "hooks/statistics/device_sums.h"
#include "hooks/statistics/feature_sums.h"
#include "hooks/statistics/tensor_sums.h"

namespace gradhealth::hooks {

/// An operator's tensors. Few enough, nearly always, to need no memory of their own.
using TensorPointers = c10::SmallVector<const at::Tensor*, 16>;
/// What a probe has found at one activation; NaN: does not apply there.
struct ActivationProbe {
  double jacobian_norm = std::numeric_limits<double>::quiet_NaN();
  double gradient_scale = std::numeric_limits<double>::quiet_NaN();
  double z_score = std::numeric_limits<double>::quiet_NaN();
  double spectral_norm = std::numeric_limits<double>::quiet_NaN();
};

/// One operator call whose output is recorded as an activation.
struct ActivationCall {
  int parent = -1;     ///< The call whose output it was applied to; -1 for a layer or a tap.
  int parameter = -1;  ///< Of a layer: its weight.
  std::string base;  ///< Layer: module path. Tap: its name. Further output of a layer: "h_n". Otherwise: the operator.
  std::string module;
  std::string op;  ///< "conv2d", "relu"; in-place variants lose their underscore.
  std::string shape;
  std::string dtype;
  Units units = Units::kLastDimension;
  int pass = 0;             ///< Forward passes are counted within the step, each thread's for themselves.
  bool superseded = false;  ///< The bias was added by an operator of its own: that call replaces this one.
  bool gradient_expected = false;
  bool gradient_seen = false;
  ActivationSums values;
  ElementSums gradient;
  std::optional<InputSums> input;        ///< Only for the first layer of the model.
  std::vector<LateSums> late_gradients;  ///< On a device; not yet in `gradient`.
  std::vector<std::int64_t> sizes;
  std::weak_ptr<torch::autograd::Node> node;  ///< With `output_nr`, where the graph receives the gradient.
  std::uint32_t output_nr = 0;
  std::optional<ActivationProbe> probe;
};

/// A recorded call whose graph is alive. Holds the graph: keep it no longer than a probe.
struct ProbeTap {
  int call = 0;
  int parent = -1;
  int parameter = -1;
  std::string op;
  std::string module;
  std::vector<std::int64_t> sizes;
  double rms = 0;
  std::shared_ptr<torch::autograd::Node> node;
  std::uint32_t output_nr = 0;

  torch::autograd::Edge edge() const { return {node, output_nr}; }
};

/// The model's two ends in one pass, as a probe needs them; kept only on steps where one is due. Holds memory that the
/// pass holds anyway, and no graph.
struct ProbeEnds {
  std::optional<OperatorReplay> first;  ///< The first operator. Empty for an embedding: `input` is its output.
  at::Tensor input;                     ///< What entered it.
  std::weak_ptr<torch::autograd::Node> first_node;
  std::uint32_t first_output_nr = 0;
  bool first_repeats = false;  ///< The first layer has been called again: the pass has more inputs than this one.
  at::Tensor output;           ///< Of the last layer so far, …
  int output_call = -1;        ///< … and its call.
  std::int64_t input_version = 0;
  std::int64_t output_version = 0;

  /// Whether an operator has written to one of the two since.
  bool stale() const;
};

/// Adds to the calls what a readback has brought of them.
void complete(std::vector<ActivationCall>& calls, const Readback& readback);

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
    std::optional<InputSums> input;
  };

  /// @param first_module the model's first layer, empty if not yet known; set when the first layer runs.
  StepCapture(std::shared_ptr<const StorageTable> table, std::shared_ptr<const ParameterList> parameters,
              std::string first_module);

  /// How much of each activation is read; everything unless this is called, before the first operator.
  void sample(const Sampling& sampling) { sampling_ = sampling; }
  /// At an operator's start. Empty if the operator does not concern this model.
  std::optional<Claim> begin(std::string_view op, c10::ArrayRef<const at::Tensor*> inputs);
  /// At its end.
  void end(std::string_view op, Claim&& claim, c10::ArrayRef<const at::Tensor*> outputs);
  void tap(const std::string& name, const at::Tensor& tensor);
  /// The gradients of the passes so far were discarded by the trainer: what is differentiated from now on is the step.
  void forget_gradients();
  void add_gradient(int call, const at::Tensor& gradient);
  void fail(const std::string& error) noexcept;

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
  /// Will bring the numbers of activations on a device; to be started after `finish`.
  const std::shared_ptr<Readback>& readback() const { return readback_; }
  /// Known once the step has finished.
  const std::vector<Stranger>& strangers() const { return strangers_; }
  const std::string& first_module() const { return first_module_; }
  std::string error() const;
  double own_seconds() const { return 1e-9 * static_cast<double>(own_nanoseconds_.load(std::memory_order_relaxed)); }
  void add_time(std::int64_t nanoseconds) { own_nanoseconds_.fetch_add(nanoseconds, std::memory_order_relaxed); }

 private:
  using WeakTensor = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;
  using WeakStorage = c10::weak_intrusive_ptr<c10::StorageImpl>;

  /// The parts that an operator's inputs play.
  struct Roles {
    const at::Tensor* weight = nullptr;    ///< The parameter of most dimensions.
    const at::Tensor* data = nullptr;      ///< The first other tensor that is no scalar, if possible no leaf either.
    const at::Tensor* stranger = nullptr;  ///< The unknown leaf of most dimensions.
    int weight_parameter = -1;             ///< Which parameter the weight is.
    int parameter = -1;                    ///< The parameter that names the module.
    int parent = -1;
    int behind_stranger = -1;
  };

  Roles roles_of(c10::ArrayRef<const at::Tensor*> inputs);
  bool names_better(int parameter, const at::Tensor& tensor, const Roles& roles) const;
  std::optional<Claim> claim_of(std::string_view op, const Roles& roles);
  const WatchedParameter& watched(int parameter) const { return (*parameters_)[static_cast<std::size_t>(parameter)]; }
  bool tied(int parameter) const { return watched(parameter).name.find('|') != std::string::npos; }
  const std::string& module_named_by(int parameter) const { return watched(parameter).module; }
  int parameter_of(const at::Tensor& tensor) const;
  int call_behind(const at::Tensor& tensor) const;
  int stranger_behind(const at::Tensor& tensor) const;
  bool is_input(const at::Tensor& leaf) const;
  bool refresh_table(const at::Tensor& leaf);
  int meet_stranger(std::string_view op, const at::Tensor& leaf, int parent);
  void resolve_strangers();
  void follow(const at::Tensor& tensor, int call, int stranger);
  void derive(const at::Tensor& tensor, int parameter);
  int begin_pass();
  ActivationCall describe(std::string_view op, Claim& claim);
  int record(ActivationCall&& call, const at::Tensor& output);
  ActivationSums read(const at::Tensor& tensor, Units units);
  int add_call(ActivationCall&& call, const at::Tensor& output);
  void keep_output(int call, const at::Tensor& output);
  void keep_first_output(std::string_view op, const at::Tensor& output);

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
  /// Outputs of recorded calls and what was made of them. Weak, because addresses of freed tensors are used again.
  std::unordered_map<const c10::TensorImpl*, std::pair<WeakTensor, int>> followed_;
  /// The same of strangers.
  std::unordered_map<const c10::TensorImpl*, std::pair<WeakTensor, int>> from_strangers_;
  /// Tensors computed from parameters alone, such as a normalised weight.
  std::unordered_map<const void*, std::pair<WeakStorage, int>> derived_;
  std::vector<bool> used_;                          ///< By parameter: an operator has read it.
  std::unordered_set<const void*> unknown_leaves_;  ///< The table was up to date when they were met.
  std::unordered_set<const void*> inputs_;          ///< Storages of leaves that layers have taken for their data.
  std::vector<Stranger> strangers_;
  bool keeps_ends_ = false;
  ProbeEnds ends_;
  std::atomic<std::int64_t> own_nanoseconds_{0};
};

}  // namespace gradhealth::hooks
