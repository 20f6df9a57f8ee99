#include "hooks/capture/claims.h"

#include <algorithm>

#include "hooks/capture/operator_kinds.h"

namespace gradhealth::hooks {
namespace {

constexpr std::size_t kMostFollowed = 16 * kMostCalls;
constexpr std::size_t kMostStrangers = 64;

/// Something that gathers a gradient, or a view of it.
bool is_leaf(const at::Tensor& tensor) {
  return tensor.requires_grad() && (tensor.is_leaf() || (tensor.is_view() && tensor._base().is_leaf()));
}

}  // namespace

Claims::Claims(std::shared_ptr<const StorageTable> table, std::shared_ptr<const ParameterList> parameters,
               const std::vector<ActivationCall>& calls)
    : table_(std::move(table)), parameters_(std::move(parameters)), calls_(calls), used_(parameters_->size()) {}

int Claims::parameter_of(const at::Tensor& tensor) const {
  if (!tensor.has_storage()) return -1;
  const int parameter = table_->find(tensor);
  if (parameter >= 0 || derived_.empty()) return parameter;
  const auto found = derived_.find(tensor.storage().unsafeGetStorageImpl());
  return found != derived_.end() && !found->second.first.expired() ? found->second.second : -1;
}

Claims::Trail Claims::trail_of(const at::Tensor& tensor) const {
  const Trail* trail = followed_.find(tensor);
  return trail ? *trail : Trail{};
}

int Claims::stranger_behind(const at::Tensor& tensor) const {
  const int* stranger = from_strangers_.find(tensor);
  return stranger ? *stranger : -1;
}

void Claims::follow(const at::Tensor& tensor, const Trail& trail, int stranger) {
  if (followed_.size() + from_strangers_.size() > kMostFollowed) return;
  if (trail.call >= 0) followed_.add(tensor, trail);
  if (stranger >= 0) from_strangers_.add(tensor, stranger);
}

void Claims::derive(const at::Tensor& tensor, int parameter) {
  if (tensor.has_storage() && table_->find(tensor) < 0)
    derived_.insert_or_assign(tensor.storage().unsafeGetStorageImpl(),
                              std::make_pair(WeakStorage(tensor.storage().getWeakStorageImpl()), parameter));
}

/// Whether a layer has taken it for its data before: a leaf because the gradient by the input is asked for.
bool Claims::is_input(const at::Tensor& leaf) const {
  return !inputs_.empty() && leaf.has_storage() && inputs_.count(leaf.storage().unsafeGetStorageImpl()) > 0;
}

/// Parameters move when a model is converted after the step began; the first that is used shows as an unknown leaf.
bool Claims::refresh_table(const at::Tensor& leaf) {
  if (!unknown_leaves_.insert(leaf.unsafeGetTensorImpl()).second || table_->holds_for(*parameters_)) return false;
  table_ = std::make_shared<const StorageTable>(*parameters_);
  return true;
}

/// The weight names a layer, not its bias; but of a weight that is tied, several layers, among which the bias decides.
bool Claims::names_better(int parameter, const at::Tensor& tensor, const Roles& roles) const {
  if (roles.parameter < 0) return true;
  const bool now = tied(roles.parameter);
  return now == tied(parameter) ? tensor.dim() > roles.weight->dim() : now;
}

void Claims::take_parameter(const at::Tensor& input, int parameter, Roles& roles) {
  used_[static_cast<std::size_t>(parameter)] = true;
  if (names_better(parameter, input, roles)) roles.parameter = parameter;
  if (roles.weight && input.dim() <= roles.weight->dim()) return;
  roles.weight = &input;
  roles.weight_parameter = parameter;
}

Claims::Roles Claims::roles_of(c10::ArrayRef<const at::Tensor*> inputs) {
  Roles roles;
  const at::Tensor* leaf_data = nullptr;
  for (const at::Tensor* each : inputs) {
    const at::Tensor& input = *each;
    if (!input.defined()) continue;
    int parameter = parameter_of(input);
    const Trail trail = parameter < 0 ? trail_of(input) : Trail{};
    const bool leaf = parameter < 0 && trail.call < 0 && is_leaf(input) && !is_input(input);
    if (leaf && refresh_table(input)) parameter = parameter_of(input);
    if (parameter >= 0) {
      take_parameter(input, parameter, roles);
      continue;
    }
    if (leaf && (!roles.stranger || input.dim() > roles.stranger->dim())) roles.stranger = &input;
    if (input.dim() > 0) {
      const at::Tensor*& data = leaf ? leaf_data : roles.data;
      if (!data) data = &input;
    }
    if (trail.call > roles.parent) {
      roles.parent = trail.call;
      roles.of_output = trail.is_output;
    }
    roles.comparison = std::max(roles.comparison, trail.comparison);
    roles.behind_stranger = std::max(roles.behind_stranger, stranger_behind(input));
  }
  if (!roles.data) roles.data = leaf_data;  // An input whose gradient is asked for.
  return roles;
}

std::optional<Claim> Claims::claim(std::string_view op, c10::ArrayRef<const at::Tensor*> inputs) {
  const Roles roles = roles_of(inputs);
  Claim claim;
  claim.parameter = roles.parameter;
  claim.weight = roles.weight_parameter;
  claim.parent = roles.parent;
  claim.of_output = roles.of_output;
  claim.comparison = roles.comparison;
  claim.stranger = roles.behind_stranger;
  if (roles.parameter < 0) return of_no_parameter(op, roles, std::move(claim));
  // A penalty such as (w - w0)² combines a parameter with a constant of its own shape; a layer has samples.
  const bool constant = roles.data && roles.parent < 0 && !roles.data->requires_grad() && is_elementwise(op) &&
                        roles.data->sizes() == roles.weight->sizes();
  if (roles.data && !constant) return of_layer(op, roles, std::move(claim));
  claim.kind = Claim::Kind::kDerivedWeight;
  return claim;
}

std::optional<Claim> Claims::of_no_parameter(std::string_view op, const Roles& roles, Claim&& claim) {
  if (roles.stranger && roles.parent >= 0) {
    // A generator's output goes on into the critic, whose activations are not the generator's.
    claim.stranger = meet_stranger(op, *roles.stranger, roles.parent);
    claim.parent = -1;
  }
  if (claim.parent < 0 && claim.stranger < 0) return std::nullopt;
  return std::move(claim);
}

Claim Claims::of_layer(std::string_view op, const Roles& roles, Claim&& claim) {
  claim.kind = Claim::Kind::kLayer;
  claim.data = roles.data;
  if (roles.stranger == roles.data && roles.data->has_storage())
    inputs_.insert(roles.data->storage().unsafeGetStorageImpl());
  else if (roles.stranger)
    meet_stranger(op, *roles.stranger, roles.parent);
  claim.adds_bias = op == "add" && roles.weight->dim() <= 1 && claim.parent >= 0 &&
                    lacks_bias(calls_[static_cast<std::size_t>(claim.parent)].op);
  if (claim.stranger >= 0) strangers_[static_cast<std::size_t>(claim.stranger)].inside = true;
  return std::move(claim);
}

int Claims::meet_stranger(std::string_view op, const at::Tensor& leaf, int parent) {
  if (strangers_.size() >= kMostStrangers) return -1;
  Stranger stranger;
  stranger.op = op;
  stranger.shape = shape_text(leaf.is_view() ? at::Tensor(leaf._base()) : leaf);
  stranger.behind = parent >= 0 ? calls_[static_cast<std::size_t>(parent)].module : "the input";
  strangers_.push_back(std::move(stranger));
  return static_cast<int>(strangers_.size()) - 1;
}

void Claims::resolve_strangers() {
  for (Stranger& stranger : strangers_) {
    int candidates = 0;
    for (std::size_t i = 0; i < used_.size(); ++i) {
      if (used_[i] || shape_text((*parameters_)[i].tensor) != stranger.shape) continue;
      ++candidates;
      stranger.replaces = (*parameters_)[i].name;
    }
    if (candidates != 1) stranger.replaces.clear();
  }
}

void Claims::finish() {
  followed_.clear();
  from_strangers_.clear();
  derived_.clear();
  resolve_strangers();
}

}  // namespace gradhealth::hooks
