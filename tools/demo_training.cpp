#include "demo_training.h"

#include <algorithm>

#include <torch/torch.h>

#include <gradhealth/hooks.h>

namespace demo {
namespace {

constexpr std::int64_t kCurvePoints = 10;

struct NetImpl : torch::nn::Module {
  torch::nn::Conv2d conv1{torch::nn::Conv2dOptions(1, 16, 3).padding(1)};
  torch::nn::Conv2d conv2{torch::nn::Conv2dOptions(16, 32, 3).padding(1)};
  torch::nn::Linear fc1{32 * 7 * 7, 128};
  torch::nn::Linear fc2{128, 10};

  NetImpl() {
    register_module("conv1", conv1);
    register_module("conv2", conv2);
    register_module("fc1", fc1);
    register_module("fc2", fc2);
  }

  torch::Tensor forward(torch::Tensor x) {
    x = torch::max_pool2d(torch::relu(conv1(x)), 2);
    x = torch::max_pool2d(torch::relu(conv2(x)), 2);
    x = torch::relu(fc1(x.flatten(1)));
    return fc2(x);
  }
};
TORCH_MODULE(Net);

torch::Tensor pixels_of(const Images& images) {
  return torch::tensor(at::ArrayRef<std::uint8_t>(images.pixels), torch::kUInt8)
      .view({images.count, 1, images.rows, images.columns});
}

torch::Tensor labels_of(const Images& images) {
  return torch::tensor(at::ArrayRef<std::uint8_t>(images.labels), torch::kUInt8).to(torch::kInt64);
}

/// Without a normalisation, the pixels as they come.
torch::Tensor prepare(const torch::Tensor& pixels, const std::optional<Normalisation>& normalisation) {
  torch::Tensor x = pixels.to(torch::kFloat32);
  if (normalisation) x = x.div(normalisation->scale).sub(normalisation->mean).div(normalisation->std);
  return x;
}

double accuracy(Net& net, const torch::Tensor& pixels, const torch::Tensor& labels, const Settings& settings) {
  const torch::NoGradGuard no_grad;
  net->eval();
  std::int64_t right = 0;
  for (std::int64_t begin = 0; begin < pixels.size(0); begin += 1000) {
    const std::int64_t end = std::min(begin + 1000, pixels.size(0));
    const torch::Tensor output = net->forward(prepare(pixels.slice(0, begin, end), settings.normalisation));
    right += output.argmax(1).eq(labels.slice(0, begin, end)).sum().item<std::int64_t>();
  }
  net->train();
  return static_cast<double>(right) / static_cast<double>(pixels.size(0));
}

}  // namespace

std::vector<CurvePoint> train(const Images& train, const Images& test, const Settings& settings,
                              const std::filesystem::path& run_file,
                              const std::function<void(const CurvePoint&)>& progress) {
  torch::manual_seed(settings.seed);
  const torch::Tensor pixels = pixels_of(train);
  const torch::Tensor labels = labels_of(train);
  const torch::Tensor test_pixels = pixels_of(test);
  const torch::Tensor test_labels = labels_of(test);
  Net net;
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(settings.learning_rate)
                                                     .momentum(settings.momentum)
                                                     .weight_decay(settings.weight_decay));
  std::optional<gradhealth::Monitor> monitor;
  if (!run_file.empty()) monitor.emplace(*net, optimizer, run_file);

  std::vector<CurvePoint> curve;
  torch::Tensor order;
  double loss_sum = 0;
  std::int64_t since = 0;
  const std::int64_t batches = train.count / settings.batch_size;
  for (std::int64_t step = 0; step < settings.steps; ++step) {
    if (step % batches == 0) order = torch::randperm(train.count);
    if (settings.decay_step > 0 && step == settings.decay_step)
      for (auto& group : optimizer.param_groups()) group.options().set_lr(settings.learning_rate / 10);
    const std::int64_t begin = step % batches * settings.batch_size;
    const torch::Tensor batch = order.slice(0, begin, begin + settings.batch_size);

    optimizer.zero_grad();
    const torch::Tensor x = prepare(pixels.index_select(0, batch), settings.normalisation);
    const torch::Tensor loss = torch::cross_entropy_loss(net->forward(x), labels.index_select(0, batch));
    loss.backward();
    if (monitor) monitor->step(loss);
    if (settings.clip_norm > 0) torch::nn::utils::clip_grad_norm_(net->parameters(), settings.clip_norm);
    optimizer.step();

    loss_sum += loss.item<double>();
    ++since;
    const bool last = step + 1 == settings.steps;
    if (!last && (step + 1) % std::max<std::int64_t>(settings.steps / kCurvePoints, 1) != 0) continue;
    const std::int64_t tested = last ? test.count : test.count / 10;
    curve.push_back({step + 1, loss_sum / static_cast<double>(since),
                     accuracy(net, test_pixels.slice(0, 0, tested), test_labels.slice(0, 0, tested), settings)});
    if (monitor) monitor->record("test_accuracy", curve.back().accuracy);
    progress(curve.back());
    loss_sum = 0;
    since = 0;
  }
  if (monitor) monitor->close();
  return curve;
}

}  // namespace demo
