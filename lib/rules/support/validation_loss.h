#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include <gradhealth/run.h>

namespace gradhealth::rules {

/// The value that the trainer recorded by a name that says validation loss: "val_loss", "eval/loss", "Test Loss".
class ValidationLoss {
 public:
  /// The value in this record; NaN if there is none.
  double observe(const Run& run, const StepRecord& record);

  bool known() const { return index_.has_value(); }
  const std::string& name() const { return name_; }

 private:
  std::optional<std::size_t> index_;
  std::size_t looked_at_ = 0;
  std::string name_;
};

}  // namespace gradhealth::rules
