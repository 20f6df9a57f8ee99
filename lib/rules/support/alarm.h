#pragma once

#include <cstddef>

namespace gradhealth::rules {

/// Counts how often there came to be more to tell.
class Alarm {
 public:
  /// @param level 0: nothing to tell; more: more findings, or more severe ones.
  void set(std::size_t level) {
    if (level > level_) ++count_;
    level_ = level;
  }
  std::size_t count() const { return count_; }

 private:
  std::size_t level_ = 0;
  std::size_t count_ = 0;
};

}  // namespace gradhealth::rules
