// Statistics of tensors in whatever layout, whole and from a sample, against LibTorch's own operators in double.
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/run_description.h"
#include "hooks/statistics/tensor_sums.h"
#include "hooks/steps/vital_signs.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;
using hooks::activation_sums;
using hooks::ActivationSums;
using hooks::ElementSums;
using hooks::Sampling;
using hooks::Units;

namespace {

constexpr std::int64_t kElements = hooks::kSampledElements;
const char* const kOutput = "weight";  // The activation of a layer that is the whole model.

bool near(double value, double reference, double tolerance) {
  return std::fabs(value - reference) <= tolerance * std::fabs(reference);
}

std::vector<std::uint8_t> active_units(const torch::Tensor& tensor, std::int64_t dimension) {
  std::vector<std::uint8_t> active;
  for (const torch::Tensor& unit : tensor.unbind(dimension)) active.push_back(unit.ne(0).any().item<bool>());
  return active;
}

void check_whole(const torch::Tensor& tensor, Units units) {
  CAPTURE(tensor.sizes(), tensor.strides(), tensor.dtype());
  const ActivationSums sums = activation_sums(tensor, units);
  const torch::Tensor values = tensor.to(torch::kFloat64);
  CHECK(sums.total == tensor.numel());
  CHECK(sums.elements.count == tensor.numel());
  CHECK(near(sums.elements.norm(), values.norm().item<double>(), 1e-6));
  CHECK(near(sums.elements.std(), values.std(false).item<double>(), 1e-6));
  CHECK(sums.elements.max_abs == values.abs().max().item<double>());
  CHECK(sums.elements.zeros == values.eq(0).sum().item<std::int64_t>());
  const bool channels = units == Units::kChannels && tensor.dim() >= 3;
  CHECK(sums.active == active_units(tensor, channels ? 1 : tensor.dim() - 1));
  CHECK(sums.samples == (channels ? tensor.size(0) : tensor.numel() / tensor.size(-1)));
  CHECK(near(hooks::gradient_sums(tensor).norm(), values.norm().item<double>(), 1e-6));
}

/// Two units without any activity, and the others half of the time.
torch::Tensor with_dead_units(torch::Tensor tensor, std::int64_t dimension) {
  tensor.relu_();
  tensor.select(dimension, 1).zero_();
  tensor.select(dimension, tensor.size(dimension) - 1).zero_();
  return tensor;
}

Sampling sampling(std::uint64_t phase) { return {kElements, phase}; }

/// Root mean square, over many samples of one tensor, of the relative error of the tensor's root mean square.
double rms_error(const torch::Tensor& tensor, Units units) {
  const double exact = std::sqrt(tensor.to(torch::kFloat64).pow(2).mean().item<double>());
  double squares = 0;
  constexpr int kSamples = 200;
  for (int phase = 0; phase < kSamples; ++phase) {
    const double error =
        activation_sums(tensor, units, sampling(static_cast<std::uint64_t>(phase))).elements.rms() / exact - 1;
    squares += error * error;
  }
  return std::sqrt(squares / kSamples);
}

/// What the documentation says that error is.
double documented_error(const torch::Tensor& tensor, Units units) {
  const torch::Tensor squares = tensor.to(torch::kFloat64).pow(2);
  const double mean = squares.mean().item<double>();
  const double kurtosis = squares.pow(2).mean().item<double>() / (mean * mean);
  const double read = static_cast<double>(activation_sums(tensor, units, sampling(0)).elements.count);
  return std::sqrt((kurtosis - 1) / 4 * (1 - read / static_cast<double>(tensor.numel())) / read);
}

MonitorOptions every_step(Statistics statistics) {
  MonitorOptions options;
  options.every = 1;
  options.messages = Messages::kNone;
  options.statistics = statistics;
  return options;
}

}  // namespace

TEST_CASE("statistics do not depend on a tensor's layout in memory", "[hooks]") {
  torch::manual_seed(1);
  const torch::Tensor images = with_dead_units(torch::randn({6, 5, 7, 9}), 1);
  check_whole(images, Units::kChannels);
  check_whole(images.contiguous(at::MemoryFormat::ChannelsLast), Units::kChannels);
  check_whole(images.transpose(2, 3), Units::kChannels);
  check_whole(images.transpose(0, 1).contiguous().transpose(0, 1), Units::kChannels);
  check_whole(images.slice(3, 0, 9, 2), Units::kChannels);
  check_whole(images.slice(0, 0, 1), Units::kChannels);
  check_whole(images.flatten(2), Units::kChannels);
  check_whole(with_dead_units(torch::randn({3, 4, 2, 5, 6}), 1).contiguous(at::MemoryFormat::ChannelsLast3d),
              Units::kChannels);
  check_whole(torch::randn({6, 1, 7, 9}), Units::kChannels);
  check_whole(torch::randn({6, 1, 7, 9}).contiguous(at::MemoryFormat::ChannelsLast), Units::kChannels);
  const torch::Tensor matrix = with_dead_units(torch::randn({70, 33}), 1);
  check_whole(matrix, Units::kLastDimension);
  check_whole(matrix.t().contiguous().t(), Units::kLastDimension);
  check_whole(matrix.slice(1, 0, 20), Units::kLastDimension);
  check_whole(matrix.select(0, 3).expand({4, 33}), Units::kLastDimension);
  check_whole(with_dead_units(torch::randn({5, 6, 8}), 2).transpose(0, 1), Units::kLastDimension);
  check_whole(torch::randn({12, 1}), Units::kLastDimension);
  check_whole(torch::randn({13}), Units::kLastDimension);
  for (const auto type : {torch::kFloat64, torch::kHalf, torch::kBFloat16}) {
    check_whole(images.to(type), Units::kChannels);
    check_whole(images.contiguous(at::MemoryFormat::ChannelsLast).to(type), Units::kChannels);
    check_whole(matrix.to(type), Units::kLastDimension);
  }
}

TEST_CASE("nothing and sparse tensors have sums", "[hooks]") {
  const ActivationSums none = activation_sums(torch::zeros({0, 4, 3, 3}), Units::kChannels, sampling(0));
  CHECK(none.elements.count == 0);
  CHECK(none.active == std::vector<std::uint8_t>{0, 0, 0, 0});
  const torch::Tensor dense = torch::zeros({100, 20});
  dense[3][4] = 3;
  dense[50][19] = -4;
  for (const ElementSums& sums : {hooks::tensor_sums(dense.to_sparse()), hooks::gradient_sums(dense.to_sparse()),
                                  hooks::sampled_sums(dense.to_sparse(), 64)}) {
    CHECK(sums.norm() == 5);
    CHECK(sums.count == 2000);
    CHECK(sums.zeros == 1998);
  }
}

TEST_CASE("the error of a sample is what is documented", "[hooks]") {
  torch::manual_seed(2);
  struct Case {
    torch::Tensor tensor;
    Units units;
  };
  const Case cases[]{{torch::randn({64, 16, 64, 64}), Units::kChannels},
                     {torch::randn({32, 64, 32, 32}).relu_(), Units::kChannels},
                     {torch::randn({64, 16, 64, 64}).contiguous(at::MemoryFormat::ChannelsLast), Units::kChannels},
                     {torch::randn({4096, 512}), Units::kLastDimension},
                     {torch::randn({4096, 512}).t(), Units::kLastDimension},
                     {torch::randn({2'000'000, 1}), Units::kLastDimension},
                     {torch::randn({64, 16, 64, 64}).pow_(3), Units::kChannels}};
  for (const Case& item : cases) {
    CAPTURE(item.tensor.sizes(), item.tensor.strides());
    const ActivationSums sums = activation_sums(item.tensor, item.units, sampling(0));
    CHECK(sums.elements.count >= kElements / 2);
    CHECK(sums.elements.count <= item.tensor.numel() / 2);
    CHECK(sums.total == item.tensor.numel());
    const double documented = documented_error(item.tensor, item.units);
    const double error = rms_error(item.tensor, item.units);
    CHECK(error < 1.25 * documented);
    CHECK(error > 0.75 * documented);
  }
}

TEST_CASE("elements that resemble their neighbours count as one a run", "[hooks]") {
  torch::manual_seed(3);
  // Constant over each image of each channel, so that a run is one value: 64 runs for each of 16 channels.
  const torch::Tensor images = torch::randn({512, 16, 1, 1}).expand({512, 16, 32, 32}).contiguous();
  const double runs = 64 * 16;
  const double error = rms_error(images, Units::kChannels);
  CHECK(error < 1.3 * std::sqrt(0.5 / runs));
  CHECK(error > 5 * documented_error(images, Units::kChannels));
}

TEST_CASE("a sample does not keep step with what repeats", "[hooks]") {
  // Sequences of 64 whose first position stands out: rows at a fixed distance would see all of them or none.
  torch::Tensor sequences = torch::ones({512, 64, 256});
  sequences.select(1, 0).fill_(20);
  const double exact = std::sqrt((63 + 400) / 64.0);
  double sum = 0;
  for (std::uint64_t phase = 0; phase < 100; ++phase)
    sum += std::pow(activation_sums(sequences, Units::kLastDimension, sampling(phase)).elements.rms(), 2);
  CHECK(near(std::sqrt(sum / 100), exact, 0.05));
}

TEST_CASE("a sample sees every unit and counts the samples it saw", "[hooks]") {
  torch::manual_seed(4);
  const torch::Tensor images = with_dead_units(torch::randn({128, 24, 48, 48}), 1);
  const torch::Tensor last = images.contiguous(at::MemoryFormat::ChannelsLast);
  for (std::uint64_t phase = 0; phase < 20; ++phase) {
    for (const torch::Tensor& tensor : {images, last}) {
      const ActivationSums sums = activation_sums(tensor, Units::kChannels, sampling(phase));
      CHECK(sums.active == active_units(images, 1));
      CHECK(sums.samples >= 32);
      CHECK(sums.samples <= 128);
    }
    const ActivationSums rows = activation_sums(images.reshape({-1, 48}), Units::kLastDimension, sampling(phase));
    CHECK(rows.samples * 48 == rows.elements.count);
  }
  // Distinct images, counted by hand: only one of them has anything but zeros at a time.
  const ActivationSums planes = activation_sums(images, Units::kChannels, sampling(5));
  std::int64_t seen = 0;
  for (std::int64_t image = 0; image < 128; ++image) {
    torch::Tensor one = torch::zeros_like(images);
    one[image].fill_(1);
    seen += activation_sums(one, Units::kChannels, sampling(5)).elements.zeros < planes.elements.count;
  }
  CHECK(planes.samples == seen);
}

TEST_CASE("phases together leave no place unseen", "[hooks]") {
  torch::Tensor images = torch::zeros({8, 4, 64, 64});
  images[5][2][63][63] = 1;  // The last place of its plane.
  bool seen = false;
  for (std::uint64_t phase = 0; phase < 100 && !seen; ++phase)
    seen = activation_sums(images, Units::kChannels, sampling(phase)).active[2];
  CHECK(seen);
}

TEST_CASE("a small tensor is not sampled", "[hooks]") {
  const torch::Tensor tensor = torch::randn({64, 1024});
  CHECK(activation_sums(tensor, Units::kLastDimension, sampling(3)).elements.count == tensor.numel());
}

TEST_CASE("large activations are sampled from the 21st step on, gradients never", "[hooks]") {
  torch::manual_seed(5);
  TemporaryDirectory directory;
  torch::nn::Conv2d conv(torch::nn::Conv2dOptions(1, 8, 3).padding(1));
  Monitor sampled(*conv, directory / "sampled.h5", every_step(Statistics::kSampled));
  Monitor exact(*conv, directory / "exact.h5", every_step(Statistics::kExact));
  double norm = 0;
  for (int step = 0; step < 22; ++step) {
    conv->zero_grad();
    torch::Tensor output = conv(torch::randn({32, 1, 48, 48}));
    output.retain_grad();
    const torch::Tensor loss = output.pow(2).mean();
    loss.backward();
    norm = output.grad().to(torch::kFloat64).norm().item<double>();
    sampled.step(loss);
    exact.step(loss);
  }
  sampled.close();
  exact.close();
  const Rows some(directory / "sampled.h5");
  const Rows all(directory / "exact.h5");
  REQUIRE(some.rows.size() == 22);
  CHECK(some.at(19, Quantity::kActivationSampledFraction, kOutput) == 1);
  CHECK(some.at(19, Quantity::kActivationRms, kOutput) == all.at(19, Quantity::kActivationRms, kOutput));
  CHECK(some.at(21, Quantity::kActivationSampledFraction, kOutput) < 0.2);
  CHECK(all.at(21, Quantity::kActivationSampledFraction, kOutput) == 1);
  CHECK(some.at(21, Quantity::kActivationRms, kOutput) != all.at(21, Quantity::kActivationRms, kOutput));
  CHECK(near(some.at(21, Quantity::kActivationRms, kOutput), all.at(21, Quantity::kActivationRms, kOutput), 0.05));
  CHECK(near(some.at(21, Quantity::kActivationGradientNorm, kOutput), norm, 1e-6));
}

TEST_CASE("a gradient that is not finite has the next steps read whole", "[hooks]") {
  torch::manual_seed(6);
  TemporaryDirectory directory;
  torch::nn::Conv2d conv(torch::nn::Conv2dOptions(1, 8, 3).padding(1));
  Monitor monitor(*conv, directory / "run.h5", every_step(Statistics::kSampled));
  for (int step = 0; step < 36; ++step) {
    conv->zero_grad();
    const torch::Tensor output = conv(torch::randn({32, 1, 48, 48}));
    // The loss stays finite; its gradient at one element is 0 / 0.
    const torch::Tensor loss = step == 22 ? output.mean() + output.flatten()[7].mul(0).sqrt() : output.mean();
    loss.backward();
    monitor.step(loss);
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(run.at(22, Quantity::kActivationGradientNonfinite, kOutput) == 1);
  CHECK(run.at(22, Quantity::kActivationSampledFraction, kOutput) < 1);
  CHECK(run.at(23, Quantity::kActivationSampledFraction, kOutput) == 1);
  CHECK(run.at(32, Quantity::kActivationSampledFraction, kOutput) == 1);
  CHECK(run.at(33, Quantity::kActivationSampledFraction, kOutput) < 1);
}

TEST_CASE("norms of large weights come from a sample, unless one shows as not finite", "[hooks]") {
  torch::manual_seed(7);
  TemporaryDirectory directory;
  torch::nn::Linear linear(600, 700);
  Monitor monitor(*linear, directory / "run.h5", every_step(Statistics::kSampled));
  for (int step = 0; step < 25; ++step) {
    linear->zero_grad();
    if (step == 24) {
      const torch::NoGradGuard no_grad;
      linear->weight.flatten()[123'457] = std::nanf("");
    }
    const torch::Tensor loss = linear(torch::randn({16, 600})).pow(2).mean();
    loss.backward();
    monitor.step(loss);
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  const double exact = run.at(0, Quantity::kWeightNorm, "weight");  // No optimizer: it stays.
  CHECK(run.at(19, Quantity::kWeightNorm, "weight") == exact);
  CHECK(run.at(20, Quantity::kWeightNorm, "weight") != exact);
  CHECK(near(run.at(20, Quantity::kWeightNorm, "weight"), exact, 0.01));
  CHECK(run.at(23, Quantity::kWeightNonfinite, "weight") == 0);
  CHECK(run.at(24, Quantity::kWeightNonfinite, "weight") == 1);
}

TEST_CASE("gradients that explode or are not finite between recorded steps are noticed", "[hooks]") {
  torch::manual_seed(8);
  torch::nn::Sequential net(torch::nn::Linear(20, 30), torch::nn::Tanh(), torch::nn::Linear(30, 10));
  const hooks::WatchedParameters parameters(hooks::parameters_of(*net));
  const auto differentiate = [&](double scale) {
    net->zero_grad();
    (net->forward(torch::randn({16, 20})).pow(2).mean() * scale).backward();
  };
  hooks::VitalSigns signs(parameters);
  for (int step = 0; step < 300; ++step) {
    differentiate(1 + 0.5 * (step % 3));
    CHECK_FALSE(signs.suspicious());
  }
  differentiate(1000);
  CHECK(signs.suspicious());
  differentiate(1);
  CHECK_FALSE(signs.suspicious());
  differentiate(std::numeric_limits<double>::infinity());
  CHECK(signs.suspicious());
}
