#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include "hooks/capture/activation_call.h"
#include "hooks/capture/operator_notes.h"
#include "hooks/capture/strangers.h"
#include "hooks/capture/tensor_notes.h"
#include "hooks/capture/watched_parameters.h"

namespace gradhealth::hooks {

/// Rollouts whose author forgot NoGradGuard run thousands of forward passes in one step: beyond this many calls, they
/// leave no trace.
inline constexpr std::size_t kMostCalls = 20'000;

/// What an operator is to the model; travels from its start to its end.
struct Claim {
  enum class Kind : std::uint8_t {
    kLayer,
    kDerivedWeight,
    kFollows,  ///< It makes something of recorded outputs, of strangers' outputs, or both.
  } kind = Kind::kFollows;
  int parameter = -1;                ///< Names the module.
  int weight = -1;                   ///< The parameter of most dimensions.
  int parent = -1;                   ///< The latest recorded call among the inputs.
  int stranger = -1;                 ///< The stranger behind an input.
  bool adds_bias = false;            ///< A layer's second half: the parent was its matrix product.
  bool of_output = false;            ///< What comes from the parent is its output, in whatever shape.
  int comparison = -1;               ///< The latest of those that an input was made of without a further activation.
  const at::Tensor* data = nullptr;  ///< Of a layer: what it is applied to; only at the operator's start.
  std::optional<InputSums> input;
  std::unique_ptr<OperatorNotes> notes;
};

/// Which operators of one step belong to the model, told by what their tensors are: parameters, outputs of recorded
/// calls, or made of those. Not thread-safe.
class Claims {
 public:
  /// What a tensor was made of.
  struct Trail {
    int call = -1;
    bool is_output = false;
    int comparison = -1;
  };

  /// @param calls the step's, which grow from claim to claim.
  Claims(std::shared_ptr<const StorageTable> table, std::shared_ptr<const ParameterList> parameters,
         const std::vector<ActivationCall>& calls);

  /// At an operator's start. Empty if it does not concern this model.
  std::optional<Claim> claim(std::string_view op, c10::ArrayRef<const at::Tensor*> inputs);
  /// At its end: what its output was made of. @param stranger -1 if none.
  void follow(const at::Tensor& tensor, const Trail& trail, int stranger);
  /// Of parameters alone, such as a normalised weight.
  void derive(const at::Tensor& tensor, int parameter);

  int parameter_of(const at::Tensor& tensor) const;
  Trail trail_of(const at::Tensor& tensor) const;
  const WatchedParameter& watched(int parameter) const { return (*parameters_)[static_cast<std::size_t>(parameter)]; }
  bool tied(int parameter) const { return watched(parameter).name.find('|') != std::string::npos; }

  /// Nothing is claimed any more.
  void finish();
  /// Known once that is so.
  const std::vector<Stranger>& strangers() const { return strangers_; }

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

  Roles roles_of(c10::ArrayRef<const at::Tensor*> inputs);
  void take_parameter(const at::Tensor& input, int parameter, Roles& roles);
  bool names_better(int parameter, const at::Tensor& tensor, const Roles& roles) const;
  std::optional<Claim> of_no_parameter(std::string_view op, const Roles& roles, Claim&& claim);
  Claim of_layer(std::string_view op, const Roles& roles, Claim&& claim);
  int stranger_behind(const at::Tensor& tensor) const;
  bool is_input(const at::Tensor& leaf) const;
  bool refresh_table(const at::Tensor& leaf);
  int meet_stranger(std::string_view op, const at::Tensor& leaf, int parent);
  void resolve_strangers();

  std::shared_ptr<const StorageTable> table_;
  std::shared_ptr<const ParameterList> parameters_;
  const std::vector<ActivationCall>& calls_;
  TensorNotes<Trail> followed_;      ///< Outputs of recorded calls and what was made of them.
  TensorNotes<int> from_strangers_;  ///< The same of strangers.
  std::unordered_map<const void*, std::pair<WeakStorage, int>> derived_;
  std::vector<bool> used_;                          ///< By parameter: an operator has read it.
  std::unordered_set<const void*> unknown_leaves_;  ///< The table was up to date when they were met.
  std::unordered_set<const void*> inputs_;          ///< Storages of leaves that layers have taken for their data.
  std::vector<Stranger> strangers_;
};

}  // namespace gradhealth::hooks
