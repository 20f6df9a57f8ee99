// What is computed on a device, on tensors of the CPU: against the CPU's own kernel and against double precision.
#include <cmath>
#include <limits>

#include <torch/torch.h>

#include "hooks/statistics/device_sums.h"
#include "hooks/statistics/feature_sums.h"
#include "hooks/statistics/reading.h"
#include "hooks/statistics/tensor_sums.h"
#include "hooks/torch_compat.h"
#include "support/catch.h"

using namespace gradhealth::hooks;

namespace {

/// All sums are in double; only the order of the additions differs.
constexpr double kTolerance = 1e-11;

const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInf = std::numeric_limits<double>::infinity();

/// Equal, both NaN, or close by the tolerance on the scale given.
bool same(double a, double b, double scale = 0) {
  return a == b || (std::isnan(a) && std::isnan(b)) ||
         std::fabs(a - b) <= kTolerance * std::max({std::fabs(a), std::fabs(b), scale});
}

ElementSums on_device(const torch::Tensor& tensor, Detail detail = Detail::kAll) {
  Readback readback;
  const LateSums late = late_sums(tensor, detail, readback);
  readback.start();
  REQUIRE(readback.ready());
  return sums_of(late, readback);
}

/// The CPU's sums of the same values as doubles: of floats, it sums in float, block by block.
ElementSums in_double(const torch::Tensor& tensor) { return tensor_sums(tensor.to(torch::kFloat64)); }

void check_same(const ElementSums& sums, const ElementSums& reference) {
  CHECK(sums.count == reference.count);
  // Positive and negative values cancel: what counts is the size of the values.
  CHECK(same(sums.sum, reference.sum, std::sqrt(reference.sum_squares * static_cast<double>(reference.count))));
  CHECK(same(sums.sum_squares, reference.sum_squares));
  CHECK(sums.max_abs == reference.max_abs);
  CHECK(sums.zeros == reference.zeros);
  CHECK(sums.nonfinite == reference.nonfinite);
}

void check_activation(const torch::Tensor& tensor, Units units) {
  CAPTURE(tensor.sizes());
  CAPTURE(tensor.scalar_type());
  Readback readback;
  ActivationSums sums = late_activation_sums(tensor, units, readback);
  readback.start();
  complete(sums, readback);
  const ActivationSums reference = activation_sums(tensor.to(torch::kFloat64), units);
  check_same(sums.elements, reference.elements);
  CHECK(sums.active == reference.active);
  CHECK(sums.samples == reference.samples);
}

void check_input(const torch::Tensor& tensor, Units units) {
  CAPTURE(tensor.sizes());
  Readback readback;
  InputSums sums = late_input_sums(tensor, units, "op", readback, InputValues::kSampled);
  readback.start();
  complete(sums, readback);
  const InputSums reference = input_sums(tensor, units, "op", InputValues::kSampled);
  CHECK(sums.feature_word == reference.feature_word);
  CHECK(sums.values_per_sample == reference.values_per_sample);
  CHECK(sums.samples == reference.samples);
  CHECK(sums.bad_sample == reference.bad_sample);
  CHECK(sums.bad_feature == reference.bad_feature);
  CHECK(sums.features.finite == reference.features.finite);
  CHECK(sums.features.nonfinite == reference.features.nonfinite);
  CHECK(sums.features.integers == reference.features.integers);
  CHECK(sums.features.min == reference.features.min);
  CHECK(sums.features.max == reference.features.max);
  CHECK(sums.sample.stride == reference.sample.stride);
  REQUIRE(sums.sample.values.size() == reference.sample.values.size());
  for (std::size_t i = 0; i < reference.sample.values.size(); ++i)
    CHECK(same(sums.sample.values[i], reference.sample.values[i]));
  REQUIRE(sums.features.size() == reference.features.size());
  for (std::size_t i = 0; i < reference.features.size(); ++i) {
    const double squares = reference.features.sum_squares[i];
    CHECK(same(sums.features.sum_squares[i], squares));
    CHECK(same(sums.features.sum[i], reference.features.sum[i],
               std::sqrt(squares * static_cast<double>(reference.features.finite[i]))));
  }
}

}  // namespace

TEST_CASE("sums computed on a device equal the CPU's, whatever the type and the strides", "[hooks]") {
  torch::manual_seed(31);
  for (const torch::ScalarType type : {torch::kFloat32, torch::kFloat64, torch::kFloat16, torch::kBFloat16}) {
    CAPTURE(type);
    const torch::Tensor x = torch::randn({6, 5, 7}).to(type);
    for (const torch::Tensor& tensor :
         {x, x.transpose(0, 2), x.slice(2, 0, 7, 3), x.select(1, 2), x.expand({2, 6, 5, 7}),
          torch::randn({40}).relu().to(type), x[0][0][0], torch::zeros({4}, type), torch::empty({0, 3}, type)}) {
      CAPTURE(tensor.sizes());
      check_same(on_device(tensor), in_double(tensor));
    }
  }
}

TEST_CASE("sums computed on a device equal a reference in double over several pieces", "[hooks]") {
  torch::manual_seed(32);
  torch::Tensor x = torch::randn({(std::int64_t{2} << 21) + 3}).add_(0.25);
  x.slice(0, 100, 4'000'000, 1000).zero_();
  const torch::Tensor reference = x.to(torch::kFloat64);
  const ElementSums sums = on_device(x);
  CHECK(same(sums.sum, reference.sum().item<double>()));
  CHECK(same(sums.sum_squares, reference.pow(2).sum().item<double>()));
  CHECK(sums.max_abs == reference.abs().max().item<double>());
  CHECK(sums.zeros == reference.eq(0).sum().item<std::int64_t>());
  CHECK(sums.nonfinite == 0);
}

TEST_CASE("a device's sums neither overflow nor lose a gradient that all but vanished", "[hooks]") {
  const torch::Tensor large = torch::full({3000}, 1e30f);
  const torch::Tensor small = torch::full({3000}, 1e-30f);
  CHECK(same(on_device(large).norm(), std::sqrt(3000.0) * static_cast<double>(1e30f)));
  CHECK(same(on_device(small).norm(), std::sqrt(3000.0) * static_cast<double>(1e-30f)));
}

TEST_CASE("what is not finite on a device is counted and shows as it does on the CPU", "[hooks]") {
  for (const torch::ScalarType type : {torch::kFloat32, torch::kFloat64, torch::kFloat16}) {
    for (const std::vector<double>& bad :
         {std::vector<double>{kNan}, {kInf}, {-kInf}, {kInf, -kInf}, {kNan, kInf}, {kNan, kNan, 0}}) {
      torch::Tensor x = torch::linspace(-2, 1, 100).to(type);
      for (std::size_t i = 0; i < bad.size(); ++i) x[static_cast<std::int64_t>(7 * i)] = bad[i];
      CAPTURE(type, bad);
      check_same(on_device(x), in_double(x));
    }
  }
  torch::Tensor nothing_else = torch::full({3}, kNan);
  CHECK(on_device(nothing_else).max_abs == 0);
}

TEST_CASE("without all detail, a device's sums are the same as far as they go", "[hooks]") {
  torch::Tensor x = torch::randn({50});
  x[3] = kNan;
  x[4] = 0;
  const ElementSums sums = on_device(x, Detail::kSums);
  CHECK(std::isnan(sums.norm()));
  CHECK(sums.nonfinite == 1);
  CHECK(sums.count == 50);
  CHECK(same(on_device(x.slice(0, 5), Detail::kSums).sum_squares, in_double(x.slice(0, 5)).sum_squares));
}

TEST_CASE("a device finds the same units active as the CPU", "[hooks]") {
  torch::manual_seed(33);
  for (const torch::ScalarType type : {torch::kFloat32, torch::kFloat64, torch::kBFloat16}) {
    torch::Tensor rows = torch::randn({9, 6}).to(type);
    rows.select(1, 2).zero_();
    rows.select(1, 4).zero_()[8] = kNan;
    torch::Tensor images = torch::randn({4, 3, 5, 5}).relu().to(type);
    images.select(1, 1).zero_();
    check_activation(rows, Units::kLastDimension);
    check_activation(rows, Units::kChannels);
    check_activation(rows.t(), Units::kLastDimension);
    check_activation(rows.view({3, 3, 6}), Units::kLastDimension);
    check_activation(rows[0], Units::kLastDimension);
    check_activation(images, Units::kChannels);
    check_activation(images, Units::kLastDimension);
    check_activation(images.contiguous(torch::MemoryFormat::ChannelsLast), Units::kChannels);
    check_activation(images.flatten(2), Units::kChannels);
    check_activation(torch::empty({0, 4}, type), Units::kLastDimension);
  }
}

TEST_CASE("a device sums the same features of an input as the CPU", "[hooks]") {
  torch::manual_seed(34);
  const torch::Tensor rows = torch::randn({16, 5});
  rows.select(1, 1).round_();
  rows[3][4] = kNan;
  rows[2][3] = -kInf;
  rows.select(1, 2).fill_(kInf);
  check_input(rows, Units::kLastDimension);
  check_input(rows.to(torch::kFloat64), Units::kLastDimension);
  check_input(rows.t(), Units::kLastDimension);
  check_input(torch::randn({4, 6, 5}), Units::kLastDimension);
  check_input(torch::randint(256, {4, 3, 6, 6}).to(torch::kFloat32), Units::kChannels);
  check_input(torch::randn({4, 3, 6, 6}).contiguous(torch::MemoryFormat::ChannelsLast), Units::kChannels);
  check_input(torch::randn({3, kMostFeatures + 1}), Units::kLastDimension);
  check_input(torch::randint(9, {4, 3}), Units::kLastDimension);  // Indices have no features.
  check_input(torch::empty({0, 3}), Units::kLastDimension);
  // Wide enough that the CPU takes several columns or positions at once, with and without what it has to leave out.
  const torch::Tensor wide = torch::randn({70, 21});
  wide.select(1, 3).round_();
  wide.select(1, 10).fill_(3e9);
  check_input(wide, Units::kLastDimension);
  wide[40][9] = kNan;
  wide[66][2] = -kInf;
  wide[69][20] = kInf;
  check_input(wide, Units::kLastDimension);
  const torch::Tensor images = torch::randn({3, 2, 7, 11});
  images[1][0].round_();
  check_input(images, Units::kChannels);
  images[2][1][3][3] = kInf;
  images[0][0][6][10] = kNan;
  check_input(images, Units::kChannels);
}

TEST_CASE("the first bad value of an input is found across the pieces it is read in", "[hooks]") {
  torch::Tensor images = torch::ones({2, 2, 1100, 1100});
  images[1][0][900][3] = kNan;
  images[1][1][0][0] = kInf;
  check_input(images, Units::kChannels);
  torch::Tensor rows = torch::ones({30'000, 100});
  rows[29'000][7] = kNan;
  rows[29'001][3] = kNan;
  check_input(rows, Units::kLastDimension);
}

TEST_CASE("a readback keeps what was added apart, by type and in order", "[hooks]") {
  Readback readback;
  const ReadbackSlot a = readback.add(torch::tensor({1.0, 2.0}, torch::kFloat64));
  const ReadbackSlot b = late_values(torch::tensor({3.5, kNan}, torch::kFloat64).to(torch::kFloat16), readback);
  const ReadbackSlot c = late_values(torch::tensor(7, torch::kInt64), readback);
  torch::Tensor later_changed = torch::tensor({5.0f});
  const ReadbackSlot d = late_values(later_changed, readback);
  CHECK_FALSE(readback.ready());
  readback.start();
  later_changed.fill_(6);
  CHECK(readback.ready());
  CHECK(readback.values(a) == std::vector<double>{1, 2});
  CHECK(readback.values(b)[0] == 3.5);
  CHECK(std::isnan(readback.values(b)[1]));
  CHECK(readback.values(c) == std::vector<double>{7});
  CHECK(readback.values(d) == std::vector<double>{5});
  CHECK_FALSE(readback.add(torch::ones({1})).filled());
  CHECK(readback.values({}).empty());
}

TEST_CASE("a readback takes no graph along and nothing of it is differentiated", "[hooks]") {
  const torch::Tensor x = torch::ones({3}, torch::requires_grad());
  gradhealth::hooks::WeakNode node;
  Readback readback;
  ReadbackSlot slot;
  {
    const torch::Tensor y = x * 2;
    node = y.grad_fn();
    slot = late_values(y, readback);
    late_sums(y, Detail::kAll, readback);
  }
  CHECK(node.expired());
  readback.start();
  CHECK(readback.values(slot) == std::vector<double>{2, 2, 2});
}

TEST_CASE("how a tensor is read follows from its device, type and layout", "[hooks]") {
  const torch::Tensor x = torch::ones({2, 2});
  CHECK(reading_of(x) == Reading::kNow);
  CHECK(reading_of(x.to_sparse()) == Reading::kNow);
  CHECK(reading_of(x.to(torch::kInt64)) == Reading::kNever);
  CHECK(reading_of(x.to(torch::kComplexFloat)) == Reading::kNever);
  CHECK(reading_of(torch::Tensor()) == Reading::kNever);
  CHECK(reading_of(torch::empty({2}, torch::TensorOptions().device(torch::kMeta))) == Reading::kNever);
  const PretendedDevice device(3);
  CHECK(reading_of(x) == Reading::kLater);
  Readback readback;
  readback.add(x);
  readback.start();
  for (int poll = 0; poll < 3; ++poll) CHECK_FALSE(readback.ready());
  CHECK(readback.ready());
}
