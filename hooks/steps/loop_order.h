#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "hooks/capture/watched_parameters.h"

namespace gradhealth::hooks {

/// In what order the trainer treats the gradients between step() and the next backward pass. Keeps addresses and weak
/// references only; for one thread at a time.
class LoopOrder {
 public:
  /// At a step()'s end, with the gradients that an update is expected to use now.
  void begin(const ParameterList& parameters);
  /// What follows is not looked at: it is not known whether the update has been made already.
  void stop() { watching_ = false; }
  /// A parameter is about to be written to.
  void parameter_written(const ParameterList& parameters);
  /// Something is about to be written to in place that is no parameter. @param op as LibTorch names it.
  void other_written(const ParameterList& parameters, std::string_view op, const at::Tensor& target);
  /// The next backward pass has ended.
  void backward_ended(const ParameterList& parameters);
  /// Patterns found since the last call, each once a run: "cleared-before-update", "changed-after-update".
  std::vector<std::string> take_patterns();

 private:
  using WeakTensor = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;
  struct Gradient {
    std::optional<WeakTensor> tensor;  ///< Keeps the address from being used again. Empty if undefined.
    const c10::TensorImpl* address = nullptr;
    const void* storage = nullptr;
    std::int64_t numel = 0;
    bool zeroed = false;
  };

  bool cleared(const ParameterList& parameters) const;
  void found(const char* pattern, bool& told);

  std::vector<Gradient> gradients_;  ///< By parameter, at the step's end.
  bool watching_ = false;
  bool updated_ = false;  ///< Since the step's end.
  bool changed_ = false;  ///< Gradients, after the last parameter was written to.
  int without_update_ = 0;
  std::vector<std::string> patterns_;
  bool told_cleared_ = false;
  bool told_changed_ = false;
};

}  // namespace gradhealth::hooks
