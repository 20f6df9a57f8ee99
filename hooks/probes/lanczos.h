#pragma once

#include <functional>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace gradhealth::hooks {

/// A vector in pieces, such as the gradients of all parameters.
using TensorList = std::vector<at::Tensor>;
/// A symmetric matrix: returns its product with a vector. Undefined pieces of the product are zero.
using SymmetricOperator = std::function<TensorList(const TensorList&)>;

/// Largest (not largest absolute) eigenvalue, from below, by Lanczos' method with one product an iteration. Nothing if
/// `start` is zero or a product is not finite.
/// @param start any vector with a component along the eigenvector, such as a random one.
std::optional<double> largest_eigenvalue(const SymmetricOperator& matrix, TensorList start, int iterations);

/// Largest eigenvalue of the symmetric tridiagonal matrix with this diagonal (at least one element) and off-diagonal
/// (one element less).
double largest_tridiagonal_eigenvalue(const std::vector<double>& diagonal, const std::vector<double>& off_diagonal);

}  // namespace gradhealth::hooks
