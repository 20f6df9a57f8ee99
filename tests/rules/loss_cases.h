#pragma once

#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "support/synthetic_run.h"

/// Losses and faults that tests of several rules share.
namespace gradhealth::test {

/// Neither falls nor rises; a little noise that repeats itself.
inline double stuck(std::int64_t step) { return 2.3 + 0.01 * std::sin(static_cast<double>(step)); }

inline Fault both(Fault a, Fault b) {
  return [a = std::move(a), b = std::move(b)](StepRecord& record) {
    a(record);
    b(record);
  };
}

/// One quantity of the run axis has this value in every record.
inline Fault always(Quantity quantity, double value) {
  return [=](StepRecord& record) { record.set(quantity, value); };
}

/// The loss is made by another operator than the synthetic run's.
inline Fault loss_operator(const std::string& text, const std::string& subject = "fc3") {
  return [=](StepRecord& record) {
    record.events.clear();
    if (record.step == 0) record.events.push_back({0, "loss-operator", subject, text});
  };
}

/// Numbers as targets, with a squared error.
inline Fault regression(double mean, double deviation, const std::string& produced_by = "") {
  return both(
      loss_operator("op=mse_loss prediction=64x1:float32 target=64x1:float32 reduction=mean" +
                    (produced_by.empty() ? "" : " produced_by=" + produced_by)),
      [=](StepRecord& record) {
        record.set(Quantity::kTargetMean, mean);
        record.set(Quantity::kTargetStd, deviation);
        record.set(Quantity::kTargetMin, mean - 2 * deviation);
        record.set(Quantity::kTargetMax, mean + 2 * deviation);
        for (const Quantity none : {Quantity::kTargetClasses, Quantity::kTargetEntropy, Quantity::kTargetBatchEntropy})
          record.set(none, NAN);
      });
}

/// A quantity of all features.
inline Fault features(Quantity quantity, double value) {
  return [=](StepRecord& record) {
    for (std::size_t f = 0; f < 4; ++f) record.set(quantity, f, value);
  };
}

/// Of the first recommendation.
inline double value_of(const Finding& finding, const std::string& name) {
  for (const auto& [key, values] : finding.recommendations.at(0).values)
    if (key == name) return values.at(0);
  throw std::logic_error("no value " + name);
}

}  // namespace gradhealth::test
