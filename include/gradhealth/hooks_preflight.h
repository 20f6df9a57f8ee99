#pragma once

#include <functional>
#include <iosfwd>
#include <string>
#include <utility>

#include <gradhealth/diagnosis.h>

// LibTorch is named, not included: see hooks.h.
namespace at {
class Tensor;
}
namespace torch {
namespace nn {
class Module;
}
}  // namespace torch

/// What can be said about a model before it is trained.
namespace gradhealth {

struct PreflightOptions {
  /// As a Monitor's; what it says about rules that a preflight does not ask is left aside.
  DiagnosisOptions diagnosis;
};

struct PreflightReport {
  Diagnosis diagnosis;
  double seconds = 0;  ///< What the pass, if it was made for this, and the rules took.

  /// Enough was seen, and no finding is more than information.
  bool healthy() const;
  /// Several lines: the verdict, and each finding with its first recommendation.
  std::string text() const;
};

/// The text; test frameworks print a report with it where REQUIRE(report.healthy()) fails.
std::ostream& operator<<(std::ostream& out, const PreflightReport& report);

/// One forward pass, one backward pass and a probe of the Jacobian, judged by the rules that need no training: the
/// input's scale, growth of the Jacobian, silent layers, the initial loss, parameters without gradient, units that are
/// the same, how the loss is called, the architecture. Writes no file. Weights, gradients (also those that are
/// undefined), buffers, random generators and training modes are afterwards, bit by bit, what they were; for as long as
/// it takes, weights and buffers are held twice.
///
/// Do it before a Monitor of the same model is made, whose step the pass would otherwise belong to. A Monitor says the
/// same of its own first step, Monitor::preflight().
/// @param loss the model's forward pass on one batch and its loss, a scalar; no backward(), no update. Called once.
/// @throws UsageError if the model has no parameters or is on a device that is not known, the loss is no scalar, or an
/// option is wrong; and what `loss`, or its differentiation, throws.
PreflightReport preflight(torch::nn::Module& model, const std::function<at::Tensor()>& loss,
                          const PreflightOptions& options = {});

/// The same for the usual shape: preflight(net, batch, torch::nn::CrossEntropyLoss()) looks at
/// `loss(net->forward(batch.data), batch.target)`.
/// @param model a module holder, or a pointer to a module.
template <typename Holder, typename Batch, typename Loss, typename = decltype(std::declval<const Batch&>().target)>
PreflightReport preflight(Holder&& model, const Batch& batch, Loss&& loss, const PreflightOptions& options = {}) {
  const std::function<at::Tensor()> pass = [&] { return loss(model->forward(batch.data), batch.target); };
  return preflight(*model, pass, options);
}

}  // namespace gradhealth
