#include "hooks/capture/watched_parameters.h"

#include <algorithm>

#include <ATen/ATen.h>

#include <gradhealth/errors.h>

namespace gradhealth::hooks {
namespace {

const void* storage_address(const at::Tensor& tensor) {
  return tensor.has_storage() ? tensor.storage().unsafeGetStorageImpl() : nullptr;
}

std::string module_of(const std::string& parameter) {
  const auto dot = parameter.rfind('.');
  return dot == std::string::npos ? parameter : parameter.substr(0, dot);
}

/// One entry for a tensor that has several names.
ParameterList without_repetition(const NamedTensors& parameters) {
  ParameterList list;
  for (const auto& [name, tensor] : parameters) {
    if (!tensor.defined()) continue;
    const auto same = std::find_if(list.begin(), list.end(),
                                   [&t = tensor](const WatchedParameter& p) { return p.tensor.is_same(t); });
    if (same != list.end())
      same->name += "|" + name;
    else
      list.push_back({name, module_of(name), tensor});
  }
  return list;
}

}  // namespace

StorageTable::StorageTable(const ParameterList& parameters) {
  storages_.reserve(parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const at::Tensor& tensor = parameters[i].tensor;
    const void* address = storage_address(tensor);
    storages_.emplace_back(c10::intrusive_ptr<c10::StorageImpl>());
    if (!address) continue;
    storages_.back() = tensor.storage().getWeakStorageImpl();
    const std::int64_t item = static_cast<std::int64_t>(tensor.element_size());
    std::int64_t span = tensor.numel() > 0 ? 1 : 0;
    for (std::int64_t d = 0; d < tensor.dim(); ++d) span += (tensor.size(d) - 1) * tensor.stride(d);
    const std::int64_t begin = tensor.storage_offset() * item;
    extents_[address].push_back({begin, begin + span * item, static_cast<int>(i)});
  }
}

bool StorageTable::holds_for(const ParameterList& parameters) const {
  return std::equal(parameters.begin(), parameters.end(), storages_.begin(), storages_.end(),
                    [](const WatchedParameter& parameter, const auto& storage) {
                      return storage_address(parameter.tensor) == storage._unsafe_get_target();
                    });
}

int StorageTable::find(const at::Tensor& tensor) const {
  const auto found = extents_.find(storage_address(tensor));
  if (found == extents_.end()) return -1;
  const std::int64_t offset = tensor.storage_offset() * static_cast<std::int64_t>(tensor.element_size());
  for (const Extent& extent : found->second)
    if (extent.begin <= offset && offset < extent.end) return extent.parameter;
  return -1;
}

WatchedParameters::WatchedParameters(const NamedTensors& parameters)
    : parameters_(std::make_shared<const ParameterList>(without_repetition(parameters))) {
  if (parameters_->empty())
    throw UsageError(
        "the model has no parameters to monitor; create the Monitor after the modules are registered, and pass the "
        "model that is trained");
}

WatchedParameters::Adopted WatchedParameters::adopt(const NamedTensors& parameters) {
  Adopted adopted;
  ParameterList list = *parameters_;
  for (WatchedParameter& now : without_repetition(parameters)) {
    const auto known =
        std::find_if(list.begin(), list.end(), [&](const WatchedParameter& p) { return p.name == now.name; });
    if (known == list.end()) {
      adopted.added.push_back(now.name);
      list.push_back(std::move(now));
    } else if (!known->tensor.is_same(now.tensor)) {
      adopted.replaced.push_back(now.name);
      known->tensor = now.tensor;
    }
  }
  // Another list, because a step in progress may still read the one before on another thread.
  parameters_ = std::make_shared<const ParameterList>(std::move(list));
  return adopted;
}

NamedTensors WatchedParameters::named() const {
  NamedTensors parameters;
  for (const WatchedParameter& parameter : all()) parameters.emplace_back(parameter.name, parameter.tensor);
  return parameters;
}

std::string WatchedParameters::name_of(const at::Tensor& parameter) const {
  for (const WatchedParameter& each : all())
    if (each.tensor.is_same(parameter)) return each.name;
  return {};
}

std::shared_ptr<const StorageTable> WatchedParameters::table() {
  if (!table_ || !table_->holds_for(*parameters_)) table_ = std::make_shared<const StorageTable>(*parameters_);
  return table_;
}

}  // namespace gradhealth::hooks
