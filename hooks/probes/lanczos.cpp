#include "hooks/probes/lanczos.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>

namespace gradhealth::hooks {
namespace {

double dot(const TensorList& a, const TensorList& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i].defined() && b[i].defined()) sum += (a[i] * b[i]).sum(at::kDouble).item<double>();
  return sum;
}

/// a += factor·b
void add(TensorList& a, const TensorList& b, double factor) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!b[i].defined()) continue;
    a[i] = a[i].defined() ? a[i].add(b[i], factor) : b[i] * factor;
  }
}

void scale(TensorList& a, double factor) {
  for (at::Tensor& piece : a)
    if (piece.defined()) piece = piece * factor;
}

/// How many eigenvalues lie above x: the number of positive pivots of T − x.
int eigenvalues_above(double x, const std::vector<double>& diagonal, const std::vector<double>& off_diagonal) {
  int count = 0;
  double pivot = 1;
  for (std::size_t i = 0; i < diagonal.size(); ++i) {
    const double coupling = i == 0 ? 0 : off_diagonal[i - 1] * off_diagonal[i - 1];
    pivot = diagonal[i] - x - coupling / pivot;
    if (pivot == 0) pivot = -std::numeric_limits<double>::min();
    count += pivot > 0;
  }
  return count;
}

}  // namespace

double largest_tridiagonal_eigenvalue(const std::vector<double>& diagonal, const std::vector<double>& off_diagonal) {
  // Gershgorin: every eigenvalue lies within the sum of its row's off-diagonal elements of a diagonal element.
  double low = -std::numeric_limits<double>::infinity();
  double high = low;
  for (std::size_t i = 0; i < diagonal.size(); ++i) {
    const double left = i > 0 ? std::fabs(off_diagonal[i - 1]) : 0;
    const double right = i + 1 < diagonal.size() ? std::fabs(off_diagonal[i]) : 0;
    low = std::max(low, diagonal[i]);
    high = std::max(high, diagonal[i] + left + right);
  }
  for (int i = 0; i < 200 && low < high; ++i) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    (eigenvalues_above(middle, diagonal, off_diagonal) > 0 ? low : high) = middle;
  }
  return low + (high - low) / 2;
}

std::optional<double> largest_eigenvalue(const SymmetricOperator& matrix, TensorList start, int iterations) {
  const double length = std::sqrt(dot(start, start));
  if (!(length > 0) || !std::isfinite(length)) return std::nullopt;
  scale(start, 1 / length);
  TensorList current = std::move(start);
  TensorList previous(current.size());
  std::vector<double> diagonal;
  std::vector<double> off_diagonal;
  double largest = 0;
  for (int i = 0; i < std::max(iterations, 1); ++i) {
    TensorList next = matrix(current);
    const double along = dot(next, current);
    if (!std::isfinite(along)) return std::nullopt;
    diagonal.push_back(along);
    add(next, current, -along);
    if (!off_diagonal.empty()) add(next, previous, -off_diagonal.back());
    const double rest = std::sqrt(dot(next, next));
    if (!std::isfinite(rest)) return std::nullopt;
    largest = std::max({largest, std::fabs(along), rest});
    // What is left is rounding: the vectors so far span an invariant subspace.
    if (i + 1 == iterations || rest <= 1e-7 * largest) break;
    off_diagonal.push_back(rest);
    scale(next, 1 / rest);
    previous = std::move(current);
    current = std::move(next);
  }
  off_diagonal.resize(diagonal.size() - 1);
  return largest_tridiagonal_eigenvalue(diagonal, off_diagonal);
}

}  // namespace gradhealth::hooks
