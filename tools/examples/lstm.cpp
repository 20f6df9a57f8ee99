// An LSTM that tells which of four symbols began a sequence.
//   example_lstm broken|fixed [RUN.h5]
// Broken: a learning rate at which every update overwrites what the weights held. Fixed: a tenth of it, and gradients
// clipped, through the monitor so that it is on record.
#include <iostream>
#include <string>

#include <torch/torch.h>

#include <gradhealth/hooks.h>

constexpr std::int64_t kSymbols = 4;
constexpr std::int64_t kLength = 8;

struct NetImpl : torch::nn::Module {
  torch::nn::Embedding embedding{kSymbols, 16};
  torch::nn::LSTM lstm{torch::nn::LSTMOptions(16, 32).batch_first(true)};
  torch::nn::Linear out{32, kSymbols};

  NetImpl() {
    register_module("embedding", embedding);
    register_module("lstm", lstm);
    register_module("out", out);
  }
  torch::Tensor forward(const torch::Tensor& symbols) {
    return out(std::get<0>(lstm(embedding(symbols))).select(1, kLength - 1));
  }
};
TORCH_MODULE(Net);

int main(int argc, char** argv) {
  const std::string which = argc > 1 ? argv[1] : "";
  if (which != "broken" && which != "fixed") {
    std::cerr << "usage: example_lstm broken|fixed [RUN.h5]\n";
    return 2;
  }
  torch::manual_seed(1);
  Net net;
  torch::optim::Adam optimizer(net->parameters(), torch::optim::AdamOptions(which == "broken" ? 0.5 : 0.01));
  gradhealth::Monitor monitor(*net, optimizer, argc > 2 ? argv[2] : "lstm-" + which + ".h5");
  for (int step = 0; step < 400; ++step) {
    const torch::Tensor symbols = torch::randint(kSymbols, {64, kLength});
    optimizer.zero_grad();
    const torch::Tensor loss = torch::cross_entropy_loss(net->forward(symbols), symbols.select(1, 0));
    monitor.backward(loss);
    if (which == "fixed") monitor.clip_grad_norm(1.0);
    monitor.step(loss);
    optimizer.step();
    if (step % 50 == 0) std::cout << "step " << step << "  loss " << loss.item<float>() << '\n';
  }

  const torch::NoGradGuard no_grad;
  const torch::Tensor symbols = torch::randint(kSymbols, {1000, kLength});
  const torch::Tensor right = net->forward(symbols).argmax(1).eq(symbols.select(1, 0));
  std::cout << "right on " << 100 * right.to(torch::kFloat).mean().item<float>() << " % of new sequences\n";
}
