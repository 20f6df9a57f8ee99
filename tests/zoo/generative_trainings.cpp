#include <cmath>

#include <torch/torch.h>

#include "zoo/loop.h"
#include "zoo/other_trainings.h"

namespace gradhealth::zoo {
namespace {

namespace nn = torch::nn;
namespace optim = torch::optim;

nn::Sequential mlp(std::int64_t in, std::int64_t hidden, std::int64_t out) {
  return nn::Sequential(nn::Linear(in, hidden), nn::LeakyReLU(nn::LeakyReLUOptions().negative_slope(0.2)),
                        nn::Linear(hidden, hidden), nn::LeakyReLU(nn::LeakyReLUOptions().negative_slope(0.2)),
                        nn::Linear(hidden, out));
}

std::size_t badness(const Diagnosis& diagnosis) {
  std::size_t bad = 0;
  for (const DiagnosedFinding& root : diagnosis.roots) bad += root.finding.severity != Severity::kInfo;
  return bad;
}

struct VaeImpl : nn::Module {
  nn::Linear encode = register_module("encode", nn::Linear(196, 128));
  nn::Linear mean = register_module("mean", nn::Linear(128, 8));
  nn::Linear log_variance = register_module("log_variance", nn::Linear(128, 8));
  nn::Linear decode1 = register_module("decode1", nn::Linear(8, 128));
  nn::Linear decode2 = register_module("decode2", nn::Linear(128, 196));

  torch::Tensor loss(const torch::Tensor& x) {
    const torch::Tensor h = torch::relu(encode(x));
    const torch::Tensor mu = mean(h);
    const torch::Tensor lv = log_variance(h);
    const torch::Tensor z = mu + torch::exp(0.5 * lv) * torch::randn_like(mu);
    const torch::Tensor y = torch::sigmoid(decode2(torch::relu(decode1(z))));
    return torch::binary_cross_entropy(y, x, {}, at::Reduction::Sum) - 0.5 * torch::sum(1 + lv - mu.pow(2) - lv.exp());
  }
};
TORCH_MODULE(Vae);

}  // namespace

Result gan(std::uint64_t seed, const std::filesystem::path& file) {
  torch::manual_seed(seed);
  nn::Sequential generator = mlp(8, 32, 2);
  nn::Sequential critic = mlp(2, 32, 1);
  const auto options = optim::AdamOptions(1e-3).betas({0.5, 0.9});
  optim::Adam generator_optimizer(generator->parameters(), options);
  optim::Adam critic_optimizer(critic->parameters(), options);
  MonitorOptions named = quiet();
  named.name = "generator";
  const std::filesystem::path directory = file.parent_path() / (file.stem().string() + "-gan");
  std::filesystem::create_directories(directory);
  Monitor generator_monitor(*generator, generator_optimizer, directory, named);
  named.name = "critic";
  Monitor critic_monitor(*critic, critic_optimizer, directory, named);
  const auto bce = [](const torch::Tensor& logits, double label) {
    return torch::binary_cross_entropy_with_logits(logits, torch::full_like(logits, label));
  };
  for (int step = 0; step < 400; ++step) {
    const torch::Tensor angle = 2 * M_PI * torch::rand({64});
    const torch::Tensor real = torch::stack({angle.cos(), angle.sin()}, 1) + 0.05 * torch::randn({64, 2});
    critic_optimizer.zero_grad();
    const torch::Tensor fake = generator->forward(torch::randn({64, 8}));
    const torch::Tensor critic_loss = bce(critic->forward(real), 1) + bce(critic->forward(fake.detach()), 0);
    critic_loss.backward();
    critic_monitor.step(critic_loss);
    critic_optimizer.step();
    generator_optimizer.zero_grad();
    const torch::Tensor generator_loss = bce(critic->forward(fake), 1);
    generator_loss.backward();
    generator_monitor.step(generator_loss);
    generator_optimizer.step();
  }
  const Result first = finish(generator_monitor);
  const Result second = finish(critic_monitor);
  return badness(first.diagnosis) >= badness(second.diagnosis) ? first : second;
}

Result vae(std::uint64_t seed, const std::filesystem::path& file) {
  const Data data = make_data("images", seed);
  torch::manual_seed(seed);
  Vae net;
  optim::Adam optimizer(net->parameters(), optim::AdamOptions(1e-3));
  Monitor monitor(*net, optimizer, file, quiet());
  each_batch(data, 300, 64, [&](std::int64_t, const torch::Tensor& x, const torch::Tensor&) {
    optimizer.zero_grad();
    const torch::Tensor loss = net->loss(x.flatten(1));
    loss.backward();
    monitor.step(loss);
    optimizer.step();
  });
  return finish(monitor);
}

Result autoencoder(std::uint64_t seed, const std::filesystem::path& file) {
  const Data data = make_data("images", seed);
  torch::manual_seed(seed);
  nn::Sequential net(nn::Linear(196, 64), nn::ReLU(), nn::Linear(64, 8), nn::Linear(8, 64), nn::ReLU(),
                     nn::Linear(64, 196), nn::Sigmoid());
  optim::Adam optimizer(net->parameters(), optim::AdamOptions(1e-3));
  Monitor monitor(*net, optimizer, file, quiet());
  each_batch(data, 400, 64, [&](std::int64_t, const torch::Tensor& x, const torch::Tensor&) {
    optimizer.zero_grad();
    const torch::Tensor pixels = x.flatten(1);
    const torch::Tensor loss = torch::mse_loss(net->forward(pixels), pixels);
    loss.backward();
    monitor.step(loss);
    optimizer.step();
  });
  return finish(monitor);
}

}  // namespace gradhealth::zoo
