#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

namespace gradhealth::hooks {

/// Nonlinearity coefficient sqrt(E tr(J Cov_x Jᵀ) / tr Cov_f) of Philipp and Carbonell (arXiv 1806.00179) over the
/// samples of a batch: 1 for a linear network. NaN where the outputs do not vary. Of more than 128 samples, or of large
/// ones, evenly spaced samples stand for all in the numerator.
/// @param inputs x, samples in the first dimension.
/// @param outputs f(x), one row a sample.
/// @param pulled_back J_iᵀu_i of each sample, in the shape of `inputs`, for cotangents u whose outer products sum to the
/// identity: all unit vectors one after the other, or, in expectation, one standard normal vector.
double nonlinearity_coefficient(const at::Tensor& inputs, const at::Tensor& outputs,
                                const std::vector<at::Tensor>& pulled_back);

}  // namespace gradhealth::hooks
