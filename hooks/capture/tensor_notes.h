#pragma once

#include <cstddef>
#include <unordered_map>
#include <utility>

#include <ATen/core/Tensor.h>

namespace gradhealth::hooks {

/// What is noted about tensors while they live. Weak, because addresses of freed tensors are used again.
template <typename Note>
class TensorNotes {
 public:
  /// The last one counts.
  void add(const at::Tensor& tensor, Note note) {
    notes_.insert_or_assign(tensor.unsafeGetTensorImpl(), std::make_pair(Weak(tensor.getIntrusivePtr()), note));
  }
  /// Null if there is none.
  const Note* find(const at::Tensor& tensor) const {
    if (notes_.empty()) return nullptr;
    const auto found = notes_.find(tensor.unsafeGetTensorImpl());
    return found != notes_.end() && !found->second.first.expired() ? &found->second.second : nullptr;
  }
  bool empty() const { return notes_.empty(); }
  std::size_t size() const { return notes_.size(); }
  void clear() { notes_.clear(); }

 private:
  using Weak = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;

  std::unordered_map<const c10::TensorImpl*, std::pair<Weak, Note>> notes_;
};

}  // namespace gradhealth::hooks
