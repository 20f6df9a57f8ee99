#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace gradhealth::rules {

/// Whether something holds at nearly every recorded step of the last few, and since when.
class Persistence {
 public:
  /// @param steps recorded steps that count, at least 1; fewer than that say nothing.
  /// @param share of them at which it must hold, in (0, 1].
  Persistence(double steps, double share);

  void observe(bool holds, std::int64_t step);

  std::size_t count() const { return count_; }  ///< Steps observed in all.
  double share() const;                         ///< Of the last steps; NaN while there is none.
  bool holds() const;
  /// The first of the steps since which it has held persistently; only while it holds.
  std::optional<std::int64_t> since() const { return holds() ? since_ : std::nullopt; }
  std::int64_t last() const { return last_; }  ///< The last step at which it held.

 private:
  std::vector<std::uint8_t> window_;
  double wanted_;
  std::size_t count_ = 0;
  std::size_t held_ = 0;
  std::int64_t last_ = 0;
  std::optional<std::int64_t> since_;
};

}  // namespace gradhealth::rules
