#include "hooks/capture/element_sample.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>

#include <ATen/ATen.h>

#include "hooks/statistics/tensor_sums.h"

namespace gradhealth::hooks {
namespace {

template <typename T>
void append_sample(const T* data, std::int64_t count, std::vector<double>& values) {
  if (count <= kSampleElements) {
    values.insert(values.end(), data, data + count);
    return;
  }
  for (std::int64_t run = 0; run < kSampleRuns; ++run) {
    const T* begin = data + (count - kSampleRunLength) * run / (kSampleRuns - 1);
    values.insert(values.end(), begin, begin + kSampleRunLength);
  }
}

}  // namespace

void ElementSample::take(const at::Tensor& tensor) {
  values_.clear();
  if (!readable(tensor) || tensor.layout() != at::kStrided || !tensor.is_non_overlapping_and_dense()) return;
  switch (tensor.scalar_type()) {
    case at::kFloat: return append_sample(tensor.data_ptr<float>(), tensor.numel(), values_);
    case at::kDouble: return append_sample(tensor.data_ptr<double>(), tensor.numel(), values_);
    case at::kHalf: return append_sample(tensor.data_ptr<at::Half>(), tensor.numel(), values_);
    case at::kBFloat16: return append_sample(tensor.data_ptr<at::BFloat16>(), tensor.numel(), values_);
    default: return;
  }
}

double ElementSample::change_ratio(const ElementSample& sample) const {
  double change = 0;
  double before = 0;
  bool same = true;
  for (std::size_t i = 0; i < std::min(sample.values_.size(), values_.size()); ++i) {
    const double now = sample.values_[i];
    const double then = values_[i];
    // Two NaN are the same value that did not change, and no number.
    same &= now == then || (std::isnan(now) && std::isnan(then));
    change += (now - then) * (now - then);
    before += then * then;
  }
  return same ? 0.0 : std::sqrt(change / before);
}

bool same_places(const at::Tensor& a, const at::Tensor& b) {
  return a.defined() && b.defined() && a.layout() == at::kStrided && b.layout() == at::kStrided &&
         a.sizes() == b.sizes() && a.strides() == b.strides();
}

void Alignment::add(double a, double b) {
  if (!std::isfinite(a) || !std::isfinite(b)) return;
  product_ += a * b;
  a_squares_ += a * a;
  b_squares_ += b * b;
}

void Alignment::add(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return;
  Alignment piece;
  for (std::size_t i = 0; i < a.size(); ++i) {
    piece.product_ += a[i] * b[i];
    piece.a_squares_ += a[i] * a[i];
    piece.b_squares_ += b[i] * b[i];
  }
  if (!std::isfinite(piece.a_squares_ + piece.b_squares_)) {
    for (std::size_t i = 0; i < a.size(); ++i) add(a[i], b[i]);
    return;
  }
  product_ += piece.product_;
  a_squares_ += piece.a_squares_;
  b_squares_ += piece.b_squares_;
}

std::optional<double> Alignment::cosine() const {
  const double cosine = product_ / std::sqrt(a_squares_) / std::sqrt(b_squares_);
  if (!std::isfinite(cosine)) return std::nullopt;
  return std::clamp(cosine, -1.0, 1.0);
}

std::vector<double> descent_between(const ElementSample& then, const ElementSample& now) {
  if (then.values().size() != now.values().size()) return {};
  std::vector<double> descent(then.values().size());
  std::transform(then.values().begin(), then.values().end(), now.values().begin(), descent.begin(), std::minus<>());
  return descent;
}

std::optional<double> unchanged_fraction(const ElementSample& then, const ElementSample& now,
                                         const ElementSample& gradient) {
  std::int64_t moved = 0;
  std::int64_t unchanged = 0;
  const std::size_t count = gradient.values().size();
  if (then.values().size() != count || now.values().size() != count) return std::nullopt;
  for (std::size_t i = 0; i < count; ++i) {
    if (!(std::fabs(gradient.values()[i]) > 0)) continue;
    ++(then.values()[i] == now.values()[i] ? unchanged : moved);
  }
  if (moved + unchanged == 0) return std::nullopt;
  return static_cast<double>(unchanged) / static_cast<double>(moved + unchanged);
}

}  // namespace gradhealth::hooks
