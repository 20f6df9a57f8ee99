#include <algorithm>
#include <cmath>
#include <vector>

#include <torch/torch.h>

#include <gradhealth/errors.h>
#include <gradhealth/hooks.h>
#include <gradhealth/hooks_fix.h>

#include "hooks/models.h"
#include "support/catch.h"

using namespace gradhealth;

namespace {

/// Trains a model of one layer in front and one behind, every step recorded.
template <typename Net>
void train(Net& net, const torch::Tensor& x, const torch::Tensor& y, double lr, int steps,
           const std::filesystem::path& file) {
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(lr));
  Monitor monitor(*net, optimizer, file, test::every_step());
  for (int step = 0; step < steps; ++step) {
    optimizer.zero_grad();
    const torch::Tensor loss = torch::cross_entropy_loss(net->forward(x), y);
    loss.backward();
    monitor.step(loss);
    optimizer.step();
  }
  monitor.close();
}

/// As a trainer's own data set gives them, one by one.
struct Images : torch::data::Dataset<Images> {
  explicit Images(torch::Tensor all) : pixels(std::move(all)) {}
  torch::data::Example<> get(std::size_t index) override {
    return {pixels[static_cast<std::int64_t>(index)], torch::tensor(0)};
  }
  torch::optional<std::size_t> size() const override { return static_cast<std::size_t>(pixels.size(0)); }
  torch::Tensor pixels;
};

torch::nn::Sequential image_model() {
  return torch::nn::Sequential(torch::nn::Conv2d(3, 4, 3), torch::nn::ReLU(), torch::nn::Flatten(),
                               torch::nn::Linear(4 * 6 * 6, 3));
}

}  // namespace

TEST_CASE("a run's normaliser standardises its images per channel, and works in a data loader", "[hooks][fix]") {
  const test::TemporaryDirectory directory;
  torch::manual_seed(1);
  const torch::Tensor x =
      torch::randint(0, 256, {64, 3, 8, 8}).to(torch::kFloat32) * torch::tensor({1.0f, 0.5f, 0.25f}).view({3, 1, 1});
  torch::nn::Sequential net = image_model();
  train(net, x, torch::randint(3, {64}), 1e-6, 12, directory / "run.h5");

  const fix::InputNormalization by = fix::input_normalization(directory / "run.h5");
  CHECK(by.channels);
  CHECK(by.mean.size() == 3);
  std::vector<torch::Tensor> samples;
  for (std::int64_t i = 0; i < 64; ++i) samples.push_back(by.apply(x[i]));
  const torch::Tensor done = torch::stack(samples);
  CHECK(done.mean({0, 2, 3}).abs().max().item<double>() < 1e-3);
  CHECK((done.std(torch::IntArrayRef{0, 2, 3}) - 1).abs().max().item<double>() < 1e-3);

  auto loader = torch::data::make_data_loader(
      Images(x).map(fix::input_normalizer(directory / "run.h5")).map(torch::data::transforms::Stack<>()), 64);
  int batches = 0;
  for (const auto& batch : *loader) {
    ++batches;
    CHECK(std::abs(batch.data.mean().item<double>()) < 1e-3);
  }
  CHECK(batches == 1);
}

TEST_CASE("a run's normaliser standardises tables per feature, bytes too", "[hooks][fix]") {
  const test::TemporaryDirectory directory;
  torch::manual_seed(1);
  const torch::Tensor x =
      torch::randn({128, 3}) * torch::tensor({12.0f, 900.0f, 0.1f}) + torch::tensor({288.0f, 101325.0f, 0.5f});
  torch::nn::Sequential net(torch::nn::Linear(3, 4), torch::nn::ReLU(), torch::nn::Linear(4, 2));
  train(net, x, torch::randint(2, {128}), 1e-9, 12, directory / "run.h5");
  const fix::InputNormalization by = fix::input_normalization(directory / "run.h5");
  CHECK_FALSE(by.channels);
  const torch::Tensor done = by.apply(x.to(torch::kFloat64));
  CHECK(done.scalar_type() == torch::kFloat64);
  CHECK(done.mean(0).abs().max().item<double>() < 1e-2);
  CHECK((done.std(0) - 1).abs().max().item<double>() < 2e-2);
  CHECK(by.apply(torch::zeros({3}, torch::kUInt8)).scalar_type() == torch::kFloat32);
}

TEST_CASE("a clipping threshold is the percentile of the recorded norms", "[hooks][fix]") {
  const test::TemporaryDirectory directory;
  torch::manual_seed(1);
  torch::nn::Sequential net(torch::nn::Linear(3, 4), torch::nn::Tanh(), torch::nn::Linear(4, 2));
  train(net, torch::randn({64, 3}), torch::randint(2, {64}), 0.1, 40, directory / "run.h5");
  const test::Rows rows(directory / "run.h5");
  std::vector<double> norms;
  for (const StepRecord& row : rows.rows) norms.push_back(row.at(Quantity::kGlobalGradientNorm));
  std::sort(norms.begin(), norms.end());
  CHECK(fix::clip_threshold(directory / "run.h5", 1) == norms.back());
  CHECK(fix::clip_threshold(directory / "run.h5", 0.5) == norms[19]);
  CHECK(fix::clip_threshold(directory / "run.h5") == norms[37]);
  CHECK_THROWS_AS(fix::clip_threshold(directory / "run.h5", 0), UsageError);
  CHECK_THROWS_AS(fix::clip_threshold(directory / "run.h5", 95), UsageError);
  CHECK_THROWS_AS(fix::clip_threshold(directory / "none.h5"), IoError);
}

TEST_CASE("what a run cannot give is refused with its reason", "[hooks][fix]") {
  const test::TemporaryDirectory directory;
  torch::manual_seed(1);
  torch::nn::Sequential words(torch::nn::Embedding(10, 4), torch::nn::Flatten(), torch::nn::Linear(12, 2));
  train(words, torch::randint(10, {8, 3}), torch::randint(2, {8}), 0.1, 12, directory / "words.h5");
  CHECK_THROWS_AS(fix::input_normalization(directory / "words.h5"), UsageError);
  CHECK_THROWS_AS(fix::clip_threshold(directory / "words.h5"), UsageError);
}
