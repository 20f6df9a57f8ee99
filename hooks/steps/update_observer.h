#pragma once

#include <memory>

#include "hooks/steps/update_watch.h"

namespace gradhealth::hooks {

/// Shows backward passes and operators in place, of all threads, to a watch from now on; nothing new if it is shown
/// them already. Costs every operator about 0.3 µs while there is a watch.
void watch_updates(const std::shared_ptr<UpdateWatch>& watch);
/// Stops that, and waits for what the watch is just telling on another thread.
void stop_watching_updates(const std::shared_ptr<UpdateWatch>& watch);

/// For AccumulationHooks: a node on this thread has added to the gradients of the watch's model.
void note_accumulation(const std::shared_ptr<UpdateWatch>& watch) noexcept;

/// A backward pass shows its end by the next operator on its thread: this says that there has been one.
void settle_backward() noexcept;

}  // namespace gradhealth::hooks
