#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <gradhealth/hooks.h>

namespace gradhealth::hooks {

struct WatchedParameter {
  std::string name;    ///< As registered; "a|b" for one tensor under two names.
  std::string module;  ///< What precedes the last dot of the first name; the name itself where there is none.
  at::Tensor tensor;
};

using ParameterList = std::vector<WatchedParameter>;

/// Finds the parameter that a tensor is, or is a view of. Keeps no tensor's memory alive.
class StorageTable {
 public:
  explicit StorageTable(const ParameterList& parameters);
  /// Whether the parameters still are where they were.
  bool holds_for(const ParameterList& parameters) const;
  /// Index of the parameter whose memory `tensor` lies in, or -1.
  int find(const at::Tensor& tensor) const;

 private:
  /// Several parameters may be slices of one flat buffer.
  struct Extent {
    std::int64_t begin = 0;  ///< Bytes from the start of the storage.
    std::int64_t end = 0;
    int parameter = 0;
  };
  std::unordered_map<const void*, std::vector<Extent>> extents_;
  /// By parameter. Weak, because addresses of freed storages are used again, by other parameters for one.
  std::vector<c10::weak_intrusive_ptr<c10::StorageImpl>> storages_;
};

/// The parameters of one model.
class WatchedParameters {
 public:
  /// @throws UsageError if there are none.
  explicit WatchedParameters(const NamedTensors& parameters);

  struct Adopted {
    std::vector<std::string> replaced;
    std::vector<std::string> added;
  };
  /// Takes over what the model has now: other tensors under known names in their place, further names at the end.
  Adopted adopt(const NamedTensors& parameters);

  const ParameterList& all() const { return *parameters_; }
  NamedTensors named() const;
  /// Empty if it is none of them.
  std::string name_of(const at::Tensor& parameter) const;
  /// The same, kept as it is now.
  std::shared_ptr<const ParameterList> list() const { return parameters_; }
  /// The table for the parameters' present memory: they move when a model is copied to another type or loaded.
  std::shared_ptr<const StorageTable> table();

 private:
  std::shared_ptr<const ParameterList> parameters_;
  std::shared_ptr<const StorageTable> table_;
};

}  // namespace gradhealth::hooks
