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

/// Finds the parameter that a tensor is, or is a view of. Knows addresses only: keeps no tensor alive.
class StorageTable {
 public:
  explicit StorageTable(const std::vector<WatchedParameter>& parameters);
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
};

/// The parameters of one model.
class WatchedParameters {
 public:
  /// @throws UsageError if there are none.
  explicit WatchedParameters(const NamedTensors& parameters);

  const std::vector<WatchedParameter>& all() const { return parameters_; }
  /// The table for the parameters' present memory: they move when a model is copied to another type or loaded.
  std::shared_ptr<const StorageTable> table();

 private:
  std::vector<WatchedParameter> parameters_;
  std::vector<const void*> addresses_;
  std::shared_ptr<const StorageTable> table_;
};

}  // namespace gradhealth::hooks
