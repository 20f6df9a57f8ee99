#include "hooks/watched_parameters.h"

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

}  // namespace

StorageTable::StorageTable(const std::vector<WatchedParameter>& parameters) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const at::Tensor& tensor = parameters[i].tensor;
    const void* address = storage_address(tensor);
    if (!address) continue;
    const std::int64_t item = static_cast<std::int64_t>(tensor.element_size());
    std::int64_t span = tensor.numel() > 0 ? 1 : 0;
    for (std::int64_t d = 0; d < tensor.dim(); ++d) span += (tensor.size(d) - 1) * tensor.stride(d);
    const std::int64_t begin = tensor.storage_offset() * item;
    extents_[address].push_back({begin, begin + span * item, static_cast<int>(i)});
  }
}

int StorageTable::find(const at::Tensor& tensor) const {
  const auto found = extents_.find(storage_address(tensor));
  if (found == extents_.end()) return -1;
  const std::int64_t offset = tensor.storage_offset() * static_cast<std::int64_t>(tensor.element_size());
  for (const Extent& extent : found->second)
    if (extent.begin <= offset && offset < extent.end) return extent.parameter;
  return -1;
}

WatchedParameters::WatchedParameters(const NamedTensors& parameters) {
  for (const auto& [name, tensor] : parameters) {
    if (!tensor.defined()) continue;
    const auto same = std::find_if(parameters_.begin(), parameters_.end(),
                                   [&t = tensor](const WatchedParameter& p) { return p.tensor.is_same(t); });
    if (same != parameters_.end())
      same->name += "|" + name;
    else
      parameters_.push_back({name, module_of(name), tensor});
  }
  if (parameters_.empty())
    throw UsageError(
        "the model has no parameters to monitor; create the Monitor after the modules are registered, and pass the "
        "model that is trained");
}

std::shared_ptr<const StorageTable> WatchedParameters::table() {
  std::vector<const void*> addresses;
  addresses.reserve(parameters_.size());
  for (const WatchedParameter& parameter : parameters_) addresses.push_back(storage_address(parameter.tensor));
  if (!table_ || addresses != addresses_) {
    addresses_ = std::move(addresses);
    table_ = std::make_shared<const StorageTable>(parameters_);
  }
  return table_;
}

}  // namespace gradhealth::hooks
