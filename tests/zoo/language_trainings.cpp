#include <algorithm>
#include <cmath>
#include <vector>

#include <torch/torch.h>

#include "zoo/loop.h"
#include "zoo/other_trainings.h"

namespace gradhealth::zoo {
namespace {

namespace nn = torch::nn;
namespace optim = torch::optim;

/// Words of which each has four likely successors: [batch × time].
torch::Tensor text(std::int64_t batch, std::int64_t time, const torch::Tensor& successors) {
  std::vector<torch::Tensor> words{torch::randint(successors.size(0), {batch})};
  while (static_cast<std::int64_t>(words.size()) < time) {
    const torch::Tensor likely =
        successors.index_select(0, words.back()).gather(1, torch::randint(4, {batch, 1})).squeeze(1);
    words.push_back(torch::where(torch::rand({batch}) < 0.9, likely, torch::randint(successors.size(0), {batch})));
  }
  return torch::stack(words, 1);
}

struct LstmLanguageImpl : nn::Module {
  nn::Embedding embedding = register_module("embedding", nn::Embedding(40, 24));
  nn::LSTM lstm = register_module("lstm", nn::LSTM(nn::LSTMOptions(24, 48).batch_first(true)));
  nn::Linear out = register_module("out", nn::Linear(48, 40));
  torch::Tensor forward(const torch::Tensor& x) { return out(std::get<0>(lstm(embedding(x)))); }
};
TORCH_MODULE(LstmLanguage);

/// One block of causal attention, written out, with the output's weight tied to the embedding.
struct TransformerLanguageImpl : nn::Module {
  nn::Embedding embedding = register_module("embedding", nn::Embedding(40, 32));
  torch::Tensor position = register_parameter("position", 0.02 * torch::randn({16, 32}));
  nn::LayerNorm norm1 = register_module("norm1", nn::LayerNorm(nn::LayerNormOptions({32})));
  nn::Linear qkv = register_module("qkv", nn::Linear(32, 96));
  nn::Linear projection = register_module("projection", nn::Linear(32, 32));
  nn::LayerNorm norm2 = register_module("norm2", nn::LayerNorm(nn::LayerNormOptions({32})));
  nn::Linear up = register_module("up", nn::Linear(32, 64));
  nn::Linear down = register_module("down", nn::Linear(64, 32));

  torch::Tensor forward(const torch::Tensor& words) {
    torch::Tensor x = embedding(words) + position;
    const auto parts = qkv(norm1(x)).chunk(3, -1);
    const torch::Tensor mask = torch::ones({16, 16}, torch::kBool).triu(1);
    torch::Tensor scores = torch::matmul(parts[0], parts[1].transpose(1, 2)) / std::sqrt(32.0);
    scores = scores.masked_fill(mask, -INFINITY);
    x = x + projection(torch::matmul(torch::softmax(scores, -1), parts[2]));
    x = x + down(torch::gelu(up(norm2(x))));
    return torch::matmul(x, embedding->weight.t());
  }
};
TORCH_MODULE(TransformerLanguage);

template <typename Model>
Result language(Model net, optim::Optimizer& optimizer, const std::filesystem::path& file, std::int64_t warm_up) {
  const torch::Tensor successors = torch::randint(40, {40, 4});
  Monitor monitor(*net, optimizer, file, quiet());
  const double lr = optimizer.param_groups().front().options().get_lr();
  for (std::int64_t step = 0; step < 300; ++step) {
    const double share = warm_up > 0 ? std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(warm_up)) : 1;
    for (auto& group : optimizer.param_groups()) group.options().set_lr(lr * share);
    const torch::Tensor words = text(16, 17, successors);
    optimizer.zero_grad();
    const torch::Tensor logits = net->forward(words.slice(1, 0, 16));
    const torch::Tensor loss = torch::cross_entropy_loss(logits.reshape({-1, 40}), words.slice(1, 1, 17).reshape({-1}));
    loss.backward();
    monitor.clip_grad_norm(1);
    monitor.step(loss);
    optimizer.step();
  }
  return finish(monitor);
}

}  // namespace

Result language_lstm(std::uint64_t seed, const std::filesystem::path& file) {
  torch::manual_seed(seed);
  LstmLanguage net;
  optim::Adam optimizer(net->parameters(), optim::AdamOptions(3e-3));
  return language(net, optimizer, file, 0);
}

Result language_transformer(std::uint64_t seed, const std::filesystem::path& file) {
  torch::manual_seed(seed);
  TransformerLanguage net;
  nn::init::normal_(net->embedding->weight, 0, 0.3);
  optim::AdamW optimizer(net->parameters(), optim::AdamWOptions(3e-3));
  return language(net, optimizer, file, 40);
}

}  // namespace gradhealth::zoo
