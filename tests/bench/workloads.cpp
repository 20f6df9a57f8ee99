#include "bench/workloads.h"

namespace gradhealth::test {
namespace {

namespace nn = torch::nn;

/// A residual block of two convolutions, as in ResNet-18.
struct BlockImpl : nn::Module {
  nn::Conv2d conv1, conv2;
  nn::BatchNorm2d norm1, norm2;
  nn::Sequential shortcut;

  BlockImpl(std::int64_t in, std::int64_t out, std::int64_t stride)
      : conv1(nn::Conv2dOptions(in, out, 3).stride(stride).padding(1).bias(false)),
        conv2(nn::Conv2dOptions(out, out, 3).padding(1).bias(false)),
        norm1(out),
        norm2(out) {
    register_module("conv1", conv1);
    register_module("conv2", conv2);
    register_module("norm1", norm1);
    register_module("norm2", norm2);
    if (in != out)
      shortcut =
          nn::Sequential(nn::Conv2d(nn::Conv2dOptions(in, out, 1).stride(stride).bias(false)), nn::BatchNorm2d(out));
    register_module("shortcut", shortcut);
  }

  torch::Tensor forward(const torch::Tensor& x) {
    torch::Tensor y = norm2(conv2(torch::relu(norm1(conv1(x)))));
    y += shortcut->is_empty() ? x : shortcut->forward(x);
    return torch::relu(y);
  }
};
TORCH_MODULE(Block);

template <typename Net>
Model model_of(Net net) {
  return {net.ptr(), [net](torch::Tensor x) mutable { return net->forward(x); }};
}

Model small_cnn() {
  return model_of(nn::Sequential(nn::Conv2d(nn::Conv2dOptions(1, 16, 3).padding(1)), nn::ReLU(), nn::MaxPool2d(2),
                                 nn::Conv2d(nn::Conv2dOptions(16, 32, 3).padding(1)), nn::ReLU(), nn::MaxPool2d(2),
                                 nn::Flatten(), nn::Linear(32 * 7 * 7, 128), nn::ReLU(), nn::Linear(128, 10)));
}

Model mlp() {
  return model_of(nn::Sequential(nn::Linear(784, 512), nn::ReLU(), nn::Linear(512, 512), nn::ReLU(),
                                 nn::Linear(512, 512), nn::ReLU(), nn::Linear(512, 10)));
}

Model tiny_mlp() { return model_of(nn::Sequential(nn::Linear(16, 32), nn::ReLU(), nn::Linear(32, 10))); }

Model resnet18() {
  nn::Sequential net(nn::Conv2d(nn::Conv2dOptions(3, 64, 3).padding(1).bias(false)), nn::BatchNorm2d(64), nn::ReLU());
  std::int64_t in = 64;
  for (const std::int64_t out : {64, 128, 256, 512}) {
    net->push_back(Block(in, out, in == out ? 1 : 2));
    net->push_back(Block(out, out, 1));
    in = out;
  }
  net->push_back(nn::AdaptiveAvgPool2d(1));
  net->push_back(nn::Flatten());
  net->push_back(nn::Linear(512, 10));
  return model_of(net);
}

/// Encoder layers over [time × batch × features], and a classifier of the mean over time.
struct TransformerImpl : nn::Module {
  nn::TransformerEncoder encoder;
  nn::Linear head;

  TransformerImpl()
      : encoder(nn::TransformerEncoderLayer(nn::TransformerEncoderLayerOptions(256, 4).dim_feedforward(512)), 2),
        head(256, 10) {
    register_module("encoder", encoder);
    register_module("head", head);
  }
  torch::Tensor forward(const torch::Tensor& x) { return head(encoder(x.transpose(0, 1)).mean(0)); }
};
TORCH_MODULE(Transformer);

Model transformer() { return model_of(Transformer()); }

/// Two layers over [batch × time × features], and a classifier of the last output.
struct RecurrentImpl : nn::Module {
  nn::LSTM lstm;
  nn::Linear head;

  RecurrentImpl() : lstm(nn::LSTMOptions(64, 128).num_layers(2).batch_first(true)), head(128, 10) {
    register_module("lstm", lstm);
    register_module("head", head);
  }
  torch::Tensor forward(const torch::Tensor& x) { return head(std::get<0>(lstm(x)).select(1, -1)); }
};
TORCH_MODULE(Recurrent);

Model recurrent() { return model_of(Recurrent()); }

}  // namespace

std::vector<Workload> workloads() {
  return {{"tiny", &tiny_mlp, {16, 16}, 400},
          {"cnn", &small_cnn, {64, 1, 28, 28}, 25},
          {"mlp", &mlp, {128, 784}, 25},
          {"lstm", &recurrent, {32, 16, 64}, 25},
          {"transformer", &transformer, {16, 32, 256}, 12, 3, 5},
          {"resnet18", &resnet18, {8, 3, 32, 32}, 6, 1, 3}};
}

}  // namespace gradhealth::test
