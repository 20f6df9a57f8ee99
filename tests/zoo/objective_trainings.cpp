// Healthy trainings whose objectives are not "a prediction against its target".
#include <cmath>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "zoo/loop.h"
#include "zoo/other_trainings.h"
#include "zoo/poles.h"

namespace gradhealth::zoo {
namespace {

namespace nn = torch::nn;
namespace optim = torch::optim;

optim::Adam adam(const nn::Module& module, double lr, double beta1 = 0.9) {
  return optim::Adam(module.parameters(), optim::AdamOptions(lr).betas({beta1, beta1 < 0.9 ? 0.9 : 0.999}));
}

nn::Sequential mlp(std::int64_t in, std::int64_t hidden, std::int64_t out) {
  return nn::Sequential(nn::Linear(in, hidden), nn::ReLU(), nn::Linear(hidden, hidden), nn::ReLU(),
                        nn::Linear(hidden, out));
}

/// One update of one model by its loss.
void update(Monitor& monitor, optim::Optimizer& optimizer, const torch::Tensor& loss) {
  loss.backward();
  monitor.step(loss);
  optimizer.step();
}

struct FlowImpl : nn::Module {
  std::vector<nn::Sequential> couplings;
  FlowImpl() {
    for (int i = 0; i < 4; ++i)
      couplings.push_back(register_module("coupling" + std::to_string(i),
                                          nn::Sequential(nn::Linear(1, 32), nn::ReLU(), nn::Linear(32, 2))));
  }
  /// Negative log-density, mean over the points.
  torch::Tensor loss(const torch::Tensor& points) {
    torch::Tensor a = points.slice(1, 0, 1);
    torch::Tensor b = points.slice(1, 1, 2);
    torch::Tensor log_volume = torch::zeros_like(a);
    for (nn::Sequential& coupling : couplings) {
      const torch::Tensor parameters = coupling->forward(a);
      const torch::Tensor scale = torch::tanh(parameters.slice(1, 0, 1));
      b = b * scale.exp() + parameters.slice(1, 1, 2);
      log_volume = log_volume + scale;
      std::swap(a, b);
    }
    return (0.5 * (a.square() + b.square()) + std::log(2 * M_PI) - log_volume).mean();
  }
};
TORCH_MODULE(Flow);

struct DenoiserImpl : nn::Module {
  nn::Linear time = register_module("time", nn::Linear(1, 128));
  nn::Linear in = register_module("in", nn::Linear(196, 128));
  nn::Linear hidden = register_module("hidden", nn::Linear(128, 128));
  nn::Linear out = register_module("out", nn::Linear(128, 196));
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& t) {
    const torch::Tensor h = torch::silu(in(x) + time(t));
    return out(h + torch::silu(hidden(h)));
  }
};
TORCH_MODULE(Denoiser);

void copy_weights(const nn::Module& from, const nn::Module& to) {
  const torch::NoGradGuard no_grad;
  const std::vector<torch::Tensor> source = from.parameters();
  std::vector<torch::Tensor> target = to.parameters();
  for (std::size_t i = 0; i < source.size(); ++i) target[i].copy_(source[i]);
}

}  // namespace

Result contrastive(std::uint64_t seed, const std::filesystem::path& file) {
  const Data data = make_data("images", seed);
  torch::manual_seed(seed);
  nn::Sequential net = mlp(196, 128, 32);
  optim::Adam optimizer = adam(*net, 1e-3);
  Monitor monitor(*net, optimizer, file, quiet());
  const auto embed = [&](const torch::Tensor& x) {
    const torch::Tensor standardised = (x - 0.286) / 0.353;
    return torch::nn::functional::normalize(net->forward((standardised + 0.1 * torch::randn_like(x)).flatten(1)));
  };
  const torch::Tensor itself = torch::eye(64).to(torch::kBool);
  const torch::Tensor first = torch::zeros({64}, torch::kInt64);
  each_batch(data, 300, 64, [&](std::int64_t, const torch::Tensor& x, const torch::Tensor&) {
    optimizer.zero_grad();
    const torch::Tensor key = embed(torch::roll(x, 1, x.dim() - 1));
    const torch::Tensor query = embed(x);
    const torch::Tensor others = torch::mm(query, key.t()).masked_fill(itself, -1e9);
    const torch::Tensor logits = torch::cat({(query * key).sum(1, true), others}, 1) / 0.2;
    update(monitor, optimizer, torch::cross_entropy_loss(logits, first));
  });
  return finish(monitor);
}

Result diffusion(std::uint64_t seed, const std::filesystem::path& file) {
  const Data data = make_data("images", seed);
  torch::manual_seed(seed);
  Denoiser net;
  optim::Adam optimizer = adam(*net, 1e-3);
  Monitor monitor(*net, optimizer, file, quiet());
  const torch::Tensor kept = (1 - torch::linspace(1e-4, 0.05, 100)).cumprod(0);
  each_batch(data, 400, 64, [&](std::int64_t, const torch::Tensor& x, const torch::Tensor&) {
    optimizer.zero_grad();
    const torch::Tensor image = 2 * x.flatten(1) - 1;
    const torch::Tensor t = torch::randint(100, {x.size(0)});
    const torch::Tensor share = kept.index_select(0, t).unsqueeze(1);
    const torch::Tensor noise = torch::randn_like(image);
    const torch::Tensor noisy = share.sqrt() * image + (1 - share).sqrt() * noise;
    update(monitor, optimizer, torch::mse_loss(net->forward(noisy, t.to(torch::kFloat32).unsqueeze(1) / 100), noise));
  });
  return finish(monitor);
}

Result flow(std::uint64_t seed, const std::filesystem::path& file) {
  torch::manual_seed(seed);
  Flow net;
  optim::Adam optimizer = adam(*net, 2e-3);
  Monitor monitor(*net, optimizer, file, quiet());
  for (int step = 0; step < 500; ++step) {
    const torch::Tensor angle = M_PI * torch::rand({128});
    const torch::Tensor points = 0.3 * torch::stack({angle.cos(), angle.sin()}, 1) + 0.02 * torch::randn({128, 2});
    optimizer.zero_grad();
    update(monitor, optimizer, net->loss(points));
  }
  return finish(monitor);
}

Result noisy_label_gan(std::uint64_t seed, const std::filesystem::path& file) {
  torch::manual_seed(seed);
  nn::Sequential generator = mlp(8, 32, 2);
  nn::Sequential critic = mlp(2, 32, 1);
  optim::Adam generator_optimizer = adam(*generator, 1e-3, 0.5);
  optim::Adam critic_optimizer = adam(*critic, 1e-3, 0.5);
  Monitor monitor(*critic, critic_optimizer, file, quiet());
  const auto bce = [](const torch::Tensor& logits, double label, double noise) {
    return torch::binary_cross_entropy_with_logits(logits, label + noise * (torch::rand_like(logits) - 0.5));
  };
  for (int step = 0; step < 400; ++step) {
    const torch::Tensor angle = 2 * M_PI * torch::rand({64});
    const torch::Tensor real = torch::stack({angle.cos(), angle.sin()}, 1) + 0.05 * torch::randn({64, 2});
    critic_optimizer.zero_grad();
    const torch::Tensor fake = generator->forward(torch::randn({64, 8}));
    update(monitor, critic_optimizer,
           bce(critic->forward(real), 0.95, 0.5) + bce(critic->forward(fake.detach()), 0.05, 0.5));
    generator_optimizer.zero_grad();
    bce(critic->forward(fake), 1, 0).backward();
    generator_optimizer.step();
  }
  return finish(monitor);
}

Result physics(std::uint64_t seed, const std::filesystem::path& file) {
  torch::manual_seed(seed);
  nn::Sequential net(nn::Linear(1, 32), nn::Tanh(), nn::Linear(32, 32), nn::Tanh(), nn::Linear(32, 1));
  optim::Adam optimizer = adam(*net, 2e-3);
  Monitor monitor(*net, optimizer, file, quiet());
  const torch::Tensor ends = torch::tensor({{0.0f}, {static_cast<float>(2 * M_PI)}});
  const auto derivative = [](const torch::Tensor& y, const torch::Tensor& x) {
    return torch::autograd::grad({y.sum()}, {x}, {}, true, true)[0];
  };
  for (int step = 0; step < 600; ++step) {
    const torch::Tensor x = (2 * M_PI * torch::rand({64, 1})).requires_grad_();
    optimizer.zero_grad();
    const torch::Tensor curvature = derivative(derivative(net->forward(x), x), x);
    update(monitor, optimizer, (curvature + torch::sin(x)).square().mean() + net->forward(ends).square().mean());
  }
  return finish(monitor);
}

Result value_learning(std::uint64_t seed, const std::filesystem::path& file) {
  torch::manual_seed(seed);
  nn::Sequential net = mlp(4, 64, 2);
  nn::Sequential followed = mlp(4, 64, 2);
  copy_weights(*net, *followed);
  optim::Adam optimizer = adam(*net, 1e-3);
  Monitor monitor(*net, optimizer, file, quiet());
  Poles poles;
  const torch::Tensor size = torch::tensor({0.5, 0.5, 0.1, 0.5}).to(torch::kFloat32);  // About what states scatter by.
  std::vector<torch::Tensor> from, actions, to, fell;
  for (int step = 0; step < 800; ++step) {
    const torch::NoGradGuard no_grad;
    const double random = std::max(0.05, 1 - step / 400.0);
    from.push_back(poles.state / size);
    actions.push_back(
        torch::where(torch::rand({16}) < random, torch::randint(2, {16}), net->forward(poles.state / size).argmax(1)));
    fell.push_back(poles.step(actions.back()).to(torch::kFloat32));
    to.push_back(poles.state / size);
    if (step < 20) continue;
    const torch::Tensor chosen = torch::randint(16 * static_cast<std::int64_t>(from.size()), {64});
    const auto sample = [&](const std::vector<torch::Tensor>& all) { return torch::cat(all).index_select(0, chosen); };
    const torch::Tensor next = std::get<0>(followed->forward(sample(to)).max(1));
    const torch::Tensor target = 1 + 0.95 * (1 - sample(fell)) * next;
    const torch::AutoGradMode grad(true);
    optimizer.zero_grad();
    const torch::Tensor value = net->forward(sample(from)).gather(1, sample(actions).unsqueeze(1)).squeeze(1);
    update(monitor, optimizer, torch::smooth_l1_loss(value, target));
    if (step % 50 == 0) copy_weights(*net, *followed);
  }
  return finish(monitor);
}

Result wasserstein(std::uint64_t seed, const std::filesystem::path& file) {
  const Data data = make_data("images", seed);
  torch::manual_seed(seed);
  nn::Sequential generator = mlp(16, 128, 196);
  nn::Sequential critic = mlp(196, 128, 1);
  optim::Adam generator_optimizer = adam(*generator, 1e-4, 0);
  optim::Adam critic_optimizer = adam(*critic, 1e-4, 0);
  Monitor monitor(*critic, critic_optimizer, file, quiet());
  each_batch(data, 400, 64, [&](std::int64_t step, const torch::Tensor& x, const torch::Tensor&) {
    const torch::Tensor real = x.flatten(1);
    const torch::Tensor fake = generator->forward(torch::randn({64, 16}));
    critic_optimizer.zero_grad();
    const torch::Tensor share = torch::rand({64, 1});
    const torch::Tensor between = (share * real + (1 - share) * fake.detach()).requires_grad_();
    const torch::Tensor slope =
        torch::autograd::grad({critic->forward(between).sum()}, {between}, {}, true, true)[0].norm(2, 1);
    update(monitor, critic_optimizer,
           critic->forward(fake.detach()).mean() - critic->forward(real).mean() + 10 * (slope - 1).square().mean());
    if (step % 3 != 2) return;
    generator_optimizer.zero_grad();
    (-critic->forward(fake).mean()).backward();
    generator_optimizer.step();
  });
  return finish(monitor);
}

}  // namespace gradhealth::zoo
