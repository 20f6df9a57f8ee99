#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace gradhealth::hooks {

/// What automatic steps cannot know for certain, or were told wrongly.
enum class Doubt : std::uint8_t {
  kUpdateSkipped,
  kLikelyPassedThrough,
  kLossUnknown,
  kUpdatesTakeTurns,
  kEndedWithoutUpdate,
  kStepCalled,
};

/// What happened and what was made of it, for the run's events.
std::string text(Doubt doubt);

/// Each doubt is told the first times it arises: a trainer that always raises it shall not fill the file.
class StepDoubts {
 public:
  bool is_to_be_told(Doubt doubt);

 private:
  std::array<int, static_cast<std::size_t>(Doubt::kStepCalled) + 1> times_{};
};

}  // namespace gradhealth::hooks
