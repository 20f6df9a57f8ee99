// A transformer that tells which symbol is most frequent in a sequence.
//   example_transformer broken|fixed [RUN.h5]
// Broken: the model ends in a softmax, and the loss applies another one. Fixed: the model ends in logits.
#include <iostream>
#include <string>

#include <torch/torch.h>

#include <gradhealth/hooks.h>

constexpr std::int64_t kSymbols = 6;
constexpr std::int64_t kLength = 15;

struct NetImpl : torch::nn::Module {
  bool ends_in_softmax;
  torch::nn::Embedding embedding{kSymbols, 32};
  torch::nn::TransformerEncoder encoder{
      torch::nn::TransformerEncoderLayer(
          torch::nn::TransformerEncoderLayerOptions(32, 4).dim_feedforward(64).dropout(0)),
      2};
  torch::nn::Linear out{32, kSymbols};

  explicit NetImpl(bool softmax) : ends_in_softmax(softmax) {
    register_module("embedding", embedding);
    register_module("encoder", encoder);
    register_module("out", out);
  }
  /// @param symbols length × batch.
  torch::Tensor forward(const torch::Tensor& symbols) {
    const torch::Tensor logits = out(encoder(embedding(symbols)).mean(0));
    return ends_in_softmax ? torch::softmax(logits, 1) : logits;
  }
};
TORCH_MODULE(Net);

torch::Tensor most_frequent(const torch::Tensor& symbols) { return torch::one_hot(symbols, kSymbols).sum(0).argmax(1); }

int main(int argc, char** argv) {
  const std::string which = argc > 1 ? argv[1] : "";
  if (which != "broken" && which != "fixed") {
    std::cerr << "usage: example_transformer broken|fixed [RUN.h5]\n";
    return 2;
  }
  torch::manual_seed(1);
  Net net(which == "broken");
  torch::optim::AdamW optimizer(net->parameters(), torch::optim::AdamWOptions(1e-3));
  gradhealth::Monitor monitor(*net, optimizer, argc > 2 ? argv[2] : "transformer-" + which + ".h5");
  for (int step = 0; step < 150; ++step) {
    const torch::Tensor symbols = torch::randint(kSymbols, {kLength, 64});
    optimizer.zero_grad();
    const torch::Tensor loss = torch::cross_entropy_loss(net->forward(symbols), most_frequent(symbols));
    monitor.backward(loss);
    monitor.step(loss);
    optimizer.step();
    if (step % 50 == 0) std::cout << "step " << step << "  loss " << loss.item<float>() << '\n';
  }

  const torch::NoGradGuard no_grad;
  const torch::Tensor symbols = torch::randint(kSymbols, {kLength, 1000});
  const torch::Tensor right = net->forward(symbols).argmax(1).eq(most_frequent(symbols));
  std::cout << "right on " << 100 * right.to(torch::kFloat).mean().item<float>() << " % of new sequences\n";
}
