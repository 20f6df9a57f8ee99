#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/statistics/feature_sums.h"
#include "hooks/statistics/input_histogram.h"
#include "hooks/statistics/reading.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Axis;
using gradhealth::kInputBins;
using gradhealth::Monitor;
using gradhealth::Quantity;
using gradhealth::StepRecord;

namespace hooks = gradhealth::hooks;

namespace {

const auto kBins = static_cast<std::int64_t>(kInputBins);

/// LibTorch's own histogram of the finite values, as shares.
std::vector<double> reference(const torch::Tensor& values) {
  const torch::Tensor wide = values.to(torch::kFloat64).reshape({-1});
  const torch::Tensor finite = wide.masked_select(torch::isfinite(wide));
  const torch::Tensor counts =
      torch::histc(finite, kBins, finite.min().item<double>(), finite.max().item<double>()) / finite.numel();
  return {counts.data_ptr<double>(), counts.data_ptr<double>() + kBins};
}

std::vector<double> shares(const StepRecord& row, std::size_t histogram) {
  std::vector<double> found;
  for (std::size_t bin = 0; bin < kInputBins; ++bin)
    found.push_back(row.at(Quantity::kInputShare, histogram * kInputBins + bin));
  return found;
}

/// Shares of so few values are stored exactly enough to tell one value more or less.
void check_same(const std::vector<double>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK(std::fabs(found[i] - expected[i]) < 1e-6);
  }
}

bool is_absent(const std::vector<double>& shares) {
  return std::all_of(shares.begin(), shares.end(), [](double share) { return std::isnan(share); });
}

StepRecord recorded(const std::vector<torch::Tensor>& inputs, hooks::Units units) {
  std::vector<hooks::InputSums> sums;
  for (const torch::Tensor& input : inputs) sums.push_back(hooks::input_sums(input, units, "op", hooks::InputValues::kSampled));
  hooks::FeatureSums all(sums.front().features.size());
  std::vector<const hooks::InputSums*> each;
  for (const hooks::InputSums& one : sums) {
    all += one.features;
    each.push_back(&one);
  }
  StepRecord row;
  hooks::record_histograms(each, all, row);
  return row;
}

/// Whole numbers of sixty-fourths: bins of them begin where both ways to compute them say.
torch::Tensor sixty_fourths(at::IntArrayRef sizes) { return torch::randint(-64, 64, sizes).to(torch::kFloat32) / 64; }

}  // namespace

TEST_CASE("each channel's histogram is LibTorch's own, over the micro-batches of a step", "[hooks]") {
  torch::manual_seed(71);
  TemporaryDirectory directory;
  torch::nn::Sequential net(torch::nn::Conv2d(3, 2, 3));
  Monitor monitor(*net, directory / "run.h5", every_step());
  const torch::Tensor first = sixty_fourths({2, 3, 8, 8});
  torch::Tensor second = sixty_fourths({3, 3, 8, 8}) * 4;
  second.select(1, 2).fill_(0.25);
  first.select(1, 2).fill_(0.25);
  second[0][1][3][4] = std::numeric_limits<float>::infinity();
  second[1][1][0][0] = std::nanf("");
  torch::Tensor loss;
  for (const torch::Tensor& part : {first, second}) {
    loss = net->forward(part).sum();
    loss.backward();
  }
  monitor.step(loss);
  monitor.close();

  const Rows run(directory / "run.h5");
  REQUIRE(run.run.of(Axis::kInputBin).size() == 3 * kInputBins);
  CHECK(run.run.of(Axis::kInputBin)[0].name == "channel 0, bin 0");
  CHECK(run.run.of(Axis::kInputBin)[3 * kInputBins - 1].name == "channel 2, bin 31");
  CHECK(run.run.of(Axis::kInputBin)[0].size == 64);
  const torch::Tensor all = torch::cat({first, second});
  check_same(shares(run.rows[0], 0), reference(all.select(1, 0)));
  check_same(shares(run.rows[0], 1), reference(all.select(1, 1)));
  CHECK(is_absent(shares(run.rows[0], 2)));  // All values are the same.
}

TEST_CASE("histograms are of the first recorded step, and of each with which their number has doubled", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net(torch::nn::Linear(2, 2));
  Monitor monitor(*net, directory / "run.h5", every_step());
  for (int step = 0; step < 20; ++step) {
    const torch::Tensor loss = net->forward(sixty_fourths({40, 2})).sum();
    loss.backward();
    monitor.step(loss);
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  REQUIRE(run.rows.size() == 20);
  for (std::size_t row = 0; row < 20; ++row) {
    CAPTURE(row);
    const bool is_due = row == 0 || row == 1 || row == 2 || row == 4 || row == 8 || row == 16;
    CHECK(is_absent(shares(run.rows[row], 0)) == !is_due);
    CHECK(is_absent(shares(run.rows[row], 1)) == !is_due);
    CHECK(std::isfinite(run.rows[row].at(Quantity::kInputMean, 1)));
  }
}

TEST_CASE("where features are many, one histogram is of all", "[hooks]") {
  torch::manual_seed(72);
  TemporaryDirectory directory;
  torch::nn::Sequential net(torch::nn::Linear(17, 2));
  Monitor monitor(*net, directory / "run.h5", every_step());
  torch::Tensor input = sixty_fourths({30, 17});
  input.select(1, 4).mul_(8);
  input.select(1, 9).fill_(std::nanf(""));
  const torch::Tensor loss = net->forward(input).sum();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  REQUIRE(run.run.of(Axis::kInputBin).size() == kInputBins);
  CHECK(run.run.of(Axis::kInputBin)[5].name == "all, bin 5");
  CHECK(run.run.of(Axis::kInputBin)[5].size == 17);
  check_same(shares(run.rows[0], 0), reference(input));
}

TEST_CASE("an input without numbers to read has no histogram", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net(torch::nn::Embedding(10, 3), torch::nn::Linear(3, 1));
  Monitor monitor(*net, directory / "run.h5", every_step());
  for (const torch::Tensor& indices : {torch::randint(10, {4, 5}), torch::zeros({0, 5}, torch::kLong)}) {
    const torch::Tensor loss = net->forward(indices).sum();
    loss.backward();
    monitor.step(loss);
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  REQUIRE(run.rows.size() == 2);
  CHECK(run.run.of(Axis::kFeature).size() == 1);
  CHECK(run.run.of(Axis::kInputBin).empty());
  for (const StepRecord& row : run.rows) CHECK(is_absent(row.values(Quantity::kInputShare)));
}

TEST_CASE("values of any type and stride have the histogram of their numbers", "[hooks]") {
  torch::manual_seed(73);
  const torch::Tensor images = sixty_fourths({4, 3, 6, 6});
  for (const torch::ScalarType type : {torch::kFloat32, torch::kFloat64, torch::kFloat16, torch::kBFloat16}) {
    for (const torch::Tensor& input :
         {images.to(type), images.to(type).contiguous(torch::MemoryFormat::ChannelsLast), images.to(type).flip({0})}) {
      const StepRecord row = recorded({input}, hooks::Units::kChannels);
      for (std::int64_t channel = 0; channel < 3; ++channel)
        check_same(shares(row, static_cast<std::size_t>(channel)), reference(input.select(1, channel)));
    }
  }
  const torch::Tensor bytes = torch::randint(0, 256, {200, 2}).to(torch::kFloat32);
  bytes[0][0] = bytes[0][1] = 0;
  bytes[1][0] = bytes[1][1] = 255;
  const StepRecord row = recorded({bytes.t().contiguous().t()}, hooks::Units::kLastDimension);
  check_same(shares(row, 0), reference(bytes.select(1, 0)));
  check_same(shares(row, 1), reference(bytes.select(1, 1)));
}

TEST_CASE("what is not finite, constant or extreme spoils no histogram", "[hooks]") {
  const float nan = std::nanf("");
  const float inf = std::numeric_limits<float>::infinity();
  const float most = std::numeric_limits<float>::max();
  const auto one = [](std::vector<float> values) {
    const auto count = static_cast<std::int64_t>(values.size());
    return shares(recorded({torch::tensor(values).reshape({count, 1})}, hooks::Units::kLastDimension), 0);
  };
  CHECK(is_absent(one({nan, inf, -inf})));
  CHECK(is_absent(one({2, 2, 2, nan})));
  CHECK(is_absent(one({-inf, 7})));
  const std::vector<double> extreme = one({-most, most, most, 0, nan});
  CHECK(extreme.front() == 0.25);
  CHECK(extreme[kInputBins / 2] == 0.25);
  CHECK(extreme.back() == 0.5);
  const float smallest = std::numeric_limits<float>::denorm_min();
  const std::vector<double> tiny = one({0, smallest});
  CHECK(tiny.front() == 0.5);
  CHECK(tiny.back() == 0.5);
}

TEST_CASE("a large input's sample is small, the same each time, and sees all places alike", "[hooks]") {
  struct Shape {
    std::int64_t samples, per_sample;
  };
  for (const Shape shape : {Shape{32, 784}, Shape{64, 150'528}, Shape{4096, 150'528}, Shape{1, 5000}, Shape{100'000, 3},
                            Shape{8192, 784}, Shape{5000, 1000}, Shape{1'000'000, 1}, Shape{4097, 4096}}) {
    CAPTURE(shape.samples, shape.per_sample);
    const std::int64_t numel = shape.samples * shape.per_sample;
    const std::int64_t stride = hooks::sample_stride(numel, shape.per_sample);
    const std::int64_t count = (numel + stride - 1) / stride;
    CHECK(count <= hooks::kMostSampled);
    CHECK(count > hooks::kMostSampled / 3);
    CHECK(std::gcd(stride, numel) == 1);
    // Eighths of the samples, and eighths of each sample.
    std::vector<std::int64_t> by_sample(8), by_place(8);
    for (std::int64_t at = 0; at < numel; at += stride) {
      ++by_sample[static_cast<std::size_t>(8 * at / numel)];
      ++by_place[static_cast<std::size_t>(8 * (at % shape.per_sample) / shape.per_sample)];
    }
    const auto check_even = [&](const std::vector<std::int64_t>& seen, std::int64_t places) {
      if (places < 8) return;
      for (const std::int64_t n : seen)
        CHECK(std::fabs(static_cast<double>(8 * n) / static_cast<double>(count) - 1) < 0.25);
    };
    check_even(by_sample, shape.samples);
    check_even(by_place, shape.per_sample);
  }
  CHECK(hooks::sample_stride(4096, 4096) == 1);
}

TEST_CASE("a sampled histogram is that of all values, as far as 4,096 of them can tell", "[hooks]") {
  torch::manual_seed(74);
  const torch::Tensor images = torch::randn({64, 3, 64, 64});
  images.select(1, 1).uniform_(0, 1);
  const StepRecord row = recorded({images}, hooks::Units::kChannels);
  for (std::int64_t channel = 0; channel < 3; ++channel) {
    const std::vector<double> found = shares(row, static_cast<std::size_t>(channel));
    const std::vector<double> expected = reference(images.select(1, channel));
    CHECK(std::fabs(std::accumulate(found.begin(), found.end(), 0.0) - 1) < 1e-5);
    for (std::size_t bin = 0; bin < kInputBins; ++bin) {
      CAPTURE(channel, bin);
      // A third of the sample; five standard errors, or a few values where nearly none are.
      const double n = static_cast<double>(hooks::kMostSampled) / 4;
      CHECK(std::fabs(found[bin] - expected[bin]) < 5 * std::sqrt(expected[bin] / n) + 4 / n);
    }
  }
  CHECK(recorded({images}, hooks::Units::kChannels).values(Quantity::kInputShare) == row.values(Quantity::kInputShare));
}

TEST_CASE("an input that changes before a device is read is sampled as it was", "[hooks]") {
  torch::manual_seed(75);
  TemporaryDirectory directory;
  torch::nn::Sequential net(torch::nn::Linear(2, 2));
  torch::Tensor input = sixty_fourths({40, 2});
  const torch::Tensor before = input.clone();
  {
    const hooks::PretendedDevice device(2);
    Monitor monitor(*net, directory / "run.h5", every_step());
    const torch::Tensor loss = net->forward(input).sum();
    loss.backward();
    input.fill_(3);
    monitor.step(loss);
    monitor.close();
  }
  const Rows run(directory / "run.h5");
  for (std::int64_t feature = 0; feature < 2; ++feature)
    check_same(shares(run.rows[0], static_cast<std::size_t>(feature)), reference(before.select(1, feature)));
}
