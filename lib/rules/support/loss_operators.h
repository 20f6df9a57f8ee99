#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <gradhealth/run.h>

namespace gradhealth::rules {

/// One way in which a run computes its loss, from an event "loss-operator" (run_file/FORMAT.md).
struct LossOperator {
  std::string name;         ///< "cross_entropy_loss".
  std::string reduction;    ///< "none", "mean", "sum"; empty if unknown.
  std::string produced_by;  ///< Activation function that made the prediction, "softmax"; empty if none did.
  std::string subject;      ///< Activation that is the prediction; empty if none is.
  std::vector<std::int64_t> prediction;  ///< Shape.
  std::vector<std::int64_t> target;
  std::int64_t step = 0;
};

/// The operators between predictions and targets, each different one once (at most 16).
class LossOperators {
 public:
  void observe(const StepRecord& record);

  const std::vector<LossOperator>& all() const { return operators_; }
  bool known() const { return !operators_.empty(); }
  /// The operator if the loss has just one, else nullptr: of a sum of several, no single one explains the value.
  const LossOperator* only() const;

 private:
  std::vector<LossOperator> operators_;
};

bool is_class_loss(const std::string& name);  ///< Cross entropy of class indices, from logits or log-probabilities.
bool is_regression_loss(const std::string& name);  ///< Distance of numbers.
bool is_binary_loss(const std::string& name);      ///< Binary cross entropy, from logits or probabilities.

/// "64x10:float32" is {64, 10}; "scalar:…" and what is no shape are {}.
std::vector<std::int64_t> shape_of(const std::string& text);
std::string shape_text(const std::vector<std::int64_t>& shape);  ///< "[64, 10]".

/// The loss operator as LibTorch code over `output` and another expression: "torch::mse_loss(output, TARGET)".
std::string loss_call(const std::string& name, const std::string& target);

}  // namespace gradhealth::rules
