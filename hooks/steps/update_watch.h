#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include <ATen/core/Tensor.h>

#include "hooks/capture/watched_parameters.h"
#include "hooks/steps/loop_order.h"

namespace gradhealth::hooks {

/// What becomes of one model's gradients between two steps: filled in by backward passes, changed in place, used for an
/// update, or discarded. Told by update_observer, which sees the operators; keeps addresses and weak references only.
///
/// A model whose backward pass was another model's (a critic, in the generator's pass) and one whose update was skipped
/// (by a loss scaler) look alike until the gradients are discarded; what happened in between tells them apart.
class UpdateWatch {
 public:
  enum class Moment : std::uint8_t {
    kGradientsChange,      ///< Something is about to write to the gradients, for the first time since a backward pass.
    kGradientsGrow,        ///< A further backward pass has added to gradients that were complete before it.
    kUpdate,               ///< A parameter is about to be written to, after a backward pass.
    kUpdateSkipped,        ///< The gradients are discarded, and no update has used them.
    kPassedThrough,        ///< The same, but they are left over from another model's update.
    kLikelyPassedThrough,  ///< As far as one can tell: what was updated is watched by nobody.
    kFailed,               ///< The watch itself has failed; it is not to be relied on any more.
  };
  /// Called while the operator that makes the moment waits, on its thread.
  using Tell = std::function<void(Moment)>;

  UpdateWatch(const WatchedParameters& parameters, Tell tell);

  /// Forgets the step so far. Gradients that are there already belong to no backward pass of the new one.
  void begin_step(std::shared_ptr<const StorageTable> table);
  /// Waits for a `tell` under way on another thread; there is none from then on, until begin_step().
  void stop();

  /// 0: the gradients are as backward left them. 1: they have been changed since. Nothing if no backward was seen.
  std::optional<int> gradient_stage() const;
  /// What the last backward pass through this model started from, detached; undefined if it was given a gradient.
  at::Tensor loss() const;
  bool update_expected() const;  ///< A backward pass has ended, and no update has followed.
  /// So it has, and the pass was not one through to another model that was updated.
  bool update_is_missing() const;
  /// Whether the last two updates had no parameter in common.
  bool updates_take_turns() const;

  // What follows is for update_observer.

  /// Some thread has added to these parameters' gradients since the last call.
  bool take_accumulation() noexcept { return accumulated_.exchange(false, std::memory_order_relaxed); }
  void note_accumulation() noexcept { accumulated_.store(true, std::memory_order_relaxed); }
  /// A pass that has reached this model's parameters is over. @returns its number.
  std::uint64_t after_backward(const at::Tensor& root);
  void backward_was_of_no_other() noexcept;  ///< The last pass reached this model alone.
  /// Any operator outside of backward, on the thread of that pass. @returns whether its gradients still wait.
  bool before_operator(std::uint64_t pass);
  /// An operator in place, outside of backward. @returns whether it updates this model's parameters.
  bool before_write(const char* op, const at::Tensor& target);
  void other_model_was_updated() noexcept;
  void fail() noexcept;

  /// After begin_step(), if the step before was complete and its update is still to come: what becomes of its
  /// gradients.
  void follow_order();
  std::vector<std::string> take_order_patterns();

 private:
  using WeakTensor = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;
  /// The weak reference keeps the address from being used again; the gradient itself may go.
  struct Gradient {
    std::optional<WeakTensor> tensor;  ///< Empty if undefined.
    const c10::TensorImpl* address = nullptr;
    std::int64_t version = 0;
    const void* storage = nullptr;
    bool zeroed = false;
  };

  static bool same_gradient(const Gradient& a, const Gradient& b);
  std::vector<Gradient> gradients_now() const;
  void note_dropped(const std::vector<Gradient>& now);
  bool is_gradient(const at::Tensor& tensor) const;
  void note_zeroed(const at::Tensor& target);
  void discard();
  void note_update();

  const WatchedParameters& parameters_;
  Tell tell_;
  mutable std::recursive_mutex mutex_;  ///< `tell_` ends the step, which begins the next one here.
  std::atomic<bool> accumulated_{false};
  bool stopped_ = true;
  std::shared_ptr<const StorageTable> table_;
  std::vector<Gradient> after_;               ///< As the last backward pass left them.
  std::unordered_set<const void*> storages_;  ///< Of `after_`.
  at::Tensor loss_;
  std::uint64_t pass_ = 0;
  bool expected_ = false;
  bool told_change_ = false;
  bool changed_ = false;
  bool own_backward_ = false;         ///< A pass since the last step reached this model alone.
  bool other_updated_ = false;        ///< Another watched model was updated since the last backward.
  bool unknown_updated_ = false;      ///< Something was, that looks like an update of tensors that nobody watches.
  std::vector<bool> updated_;         ///< By parameter: since the last update began.
  std::vector<bool> updated_before_;  ///< In the update before.
  bool take_turns_ = false;
  LoopOrder order_;
  bool was_expected_ = false;   ///< An update, when the step before ended.
  bool updated_early_ = false;  ///< A parameter was written to after the last backward pass.
};

}  // namespace gradhealth::hooks
