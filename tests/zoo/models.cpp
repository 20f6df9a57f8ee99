#include "zoo/models.h"

#include <stdexcept>
#include <utility>

namespace gradhealth::zoo {
namespace {

namespace nn = torch::nn;

void initialize(Net& net, const Settings& settings) {
  const torch::NoGradGuard no_grad;
  std::string last;
  for (const auto& item : net.named_parameters())
    if (item.value().dim() > 1) last = item.key();
  for (auto& item : net.named_parameters()) {
    torch::Tensor& p = item.value();
    if (p.dim() < 2) {
      if (settings.init == "dead" && item.key().find("norm") == std::string::npos && item.key() == "fc0.bias")
        p.fill_(-20);
      if (settings.init == "constant" || settings.init == "zero") p.zero_();
      continue;
    }
    if (settings.init == "he") nn::init::kaiming_normal_(p, 0, torch::kFanIn, torch::kReLU);
    if (settings.init == "glorot") nn::init::xavier_normal_(p);
    if (settings.init == "constant") p.fill_(0.05);
    if (settings.init == "zero") p.zero_();
    if (item.key() != last) p.mul_(settings.gain);
    if (const auto found = settings.gains.find(item.key()); found != settings.gains.end()) p.mul_(found->second);
  }
}

/// What stands behind a hidden layer.
struct Behind {
  explicit Behind(Settings of) : settings(std::move(of)) {}
  torch::Tensor operator()(torch::Tensor x, const std::shared_ptr<nn::Module>& norm, bool training) const {
    if (auto* batch = norm ? norm->as<nn::BatchNorm1d>() : nullptr) x = batch->forward(x);
    if (auto* images = norm ? norm->as<nn::BatchNorm2d>() : nullptr) x = images->forward(x);
    if (auto* layer = norm ? norm->as<nn::LayerNorm>() : nullptr) x = layer->forward(x);
    x = activate(settings.activation, x);
    return settings.dropout > 0 ? torch::dropout(x, settings.dropout, training) : x;
  }
  Settings settings;
};

std::shared_ptr<nn::Module> make_norm(const Settings& settings, std::int64_t features, bool images) {
  if (settings.norm == "layer" && !images) return nn::LayerNorm(nn::LayerNormOptions({features})).ptr();
  if (settings.norm.empty()) return nullptr;
  if (images) return nn::BatchNorm2d(nn::BatchNorm2dOptions(features).momentum(settings.norm_momentum)).ptr();
  return nn::BatchNorm1d(nn::BatchNorm1dOptions(features).momentum(settings.norm_momentum)).ptr();
}

struct Mlp : Net {
  Mlp(const Settings& settings, std::int64_t inputs, std::int64_t outputs) : behind(settings) {
    for (const std::int64_t width : settings.hidden) {
      const std::string index = std::to_string(layers.size());
      layers.push_back(nn::Linear(inputs, width));
      if (!(settings.unregistered && layers.size() == 2)) register_module("fc" + index, layers.back());
      norms.push_back(make_norm(settings, width, false));
      if (norms.back()) register_module("norm" + index, norms.back());
      inputs = width;
    }
    out = register_module("out", nn::Linear(inputs, outputs));
    initialize(*this, settings);
    if (settings.frozen_first)
      for (torch::Tensor& p : layers.front()->parameters()) p.requires_grad_(false);
  }
  torch::Tensor forward(torch::Tensor x) override {
    x = x.flatten(1);
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const torch::Tensor y = behind(layers[i](x), norms[i], is_training());
      x = behind.settings.residual && y.sizes() == x.sizes() ? x + y : y;
    }
    if (behind.settings.detached) x = x.detach();
    return activate(behind.settings.head, out(x));
  }
  Behind behind;
  std::vector<nn::Linear> layers;
  std::vector<std::shared_ptr<nn::Module>> norms;
  nn::Linear out{nullptr};
};

struct Cnn : Net {
  Cnn(const Settings& settings, std::int64_t outputs) : behind(settings) {
    conv1 = register_module("conv1", nn::Conv2d(nn::Conv2dOptions(1, 8, 3).padding(1)));
    conv2 = register_module("conv2", nn::Conv2d(nn::Conv2dOptions(8, 16, 3).padding(1)));
    fc1 = register_module("fc1", nn::Linear(16 * 3 * 3, 64));
    fc2 = register_module("fc2", nn::Linear(64, outputs));
    if ((norm1 = make_norm(settings, 8, true))) register_module("norm1", norm1);
    if ((norm2 = make_norm(settings, 16, true))) register_module("norm2", norm2);
    initialize(*this, settings);
  }
  torch::Tensor forward(torch::Tensor x) override {
    x = torch::max_pool2d(behind(conv1(x), norm1, is_training()), 2);
    x = torch::max_pool2d(behind(conv2(x), norm2, is_training()), 2);
    x = behind(fc1(x.flatten(1)), nullptr, is_training());
    if (behind.settings.detached) x = x.detach();
    return activate(behind.settings.head, fc2(x));
  }
  Behind behind;
  nn::Conv2d conv1{nullptr}, conv2{nullptr};
  nn::Linear fc1{nullptr}, fc2{nullptr};
  std::shared_ptr<nn::Module> norm1, norm2;
};

/// An LSTM (or GRU) and a classifier of its last output.
struct Recurrent : Net {
  Recurrent(const Settings& of, std::int64_t inputs, std::int64_t outputs) : settings(of) {
    const std::int64_t width = settings.hidden.front();
    if (settings.model == "gru")
      gru = register_module("gru", nn::GRU(nn::GRUOptions(inputs, width).batch_first(true)));
    else
      lstm = register_module("lstm", nn::LSTM(nn::LSTMOptions(inputs, width).batch_first(true)));
    out = register_module("out", nn::Linear(width, outputs));
    initialize(*this, settings);
  }
  torch::Tensor forward(torch::Tensor x) override {
    x = gru ? std::get<0>(gru(x)) : std::get<0>(lstm(x));
    return activate(settings.head, out(x.select(1, -1)));
  }
  Settings settings;
  nn::LSTM lstm{nullptr};
  nn::GRU gru{nullptr};
  nn::Linear out{nullptr};
};

/// A transformer encoder and a classifier of its mean output.
struct Encoder : Net {
  Encoder(const Settings& of, std::int64_t inputs, std::int64_t outputs) : settings(of) {
    const std::int64_t width = settings.hidden.front();
    embed = register_module("embed", nn::Linear(inputs, width));
    position = register_parameter("position", 0.1 * torch::randn({20, 1, width}));
    encoder = register_module(
        "encoder",
        nn::TransformerEncoder(
            nn::TransformerEncoderLayer(
                nn::TransformerEncoderLayerOptions(width, 4).dim_feedforward(2 * width).dropout(settings.dropout)),
            static_cast<std::int64_t>(settings.hidden.size())));
    out = register_module("out", nn::Linear(width, outputs));
  }
  torch::Tensor forward(torch::Tensor x) override { return out(encoder(embed(x.transpose(0, 1)) + position).mean(0)); }
  Settings settings;
  nn::Linear embed{nullptr};
  torch::Tensor position;
  nn::TransformerEncoder encoder{nullptr};
  nn::Linear out{nullptr};
};

/// The mean of word vectors, and a hidden layer.
struct Bag : Net {
  Bag(const Settings& of, std::int64_t outputs) : settings(of) {
    embedding = register_module("embedding", nn::Embedding(nn::EmbeddingOptions(200, 16).sparse(true)));
    fc = register_module("fc", nn::Linear(16, settings.hidden.front()));
    out = register_module("out", nn::Linear(settings.hidden.front(), outputs));
  }
  torch::Tensor forward(torch::Tensor x) override {
    return out(activate(settings.activation, fc(embedding(x).mean(1))));
  }
  Settings settings;
  nn::Embedding embedding{nullptr};
  nn::Linear fc{nullptr}, out{nullptr};
};

}  // namespace

torch::Tensor activate(const std::string& name, const torch::Tensor& x) {
  if (name.empty() || name == "none") return x;
  if (name == "relu") return torch::relu(x);
  if (name == "leaky_relu") return torch::leaky_relu(x, 0.01);
  if (name == "gelu") return torch::gelu(x);
  if (name == "tanh") return torch::tanh(x);
  if (name == "sigmoid") return torch::sigmoid(x);
  if (name == "exp") return torch::exp(x);
  if (name == "sqrt") return torch::sqrt(x * x.gt(0));
  if (name == "softmax") return torch::softmax(x, 1);
  if (name == "log_softmax") return torch::log_softmax(x, 1);
  if (name == "log_softmax_of_samples") return torch::log_softmax(x, 0);
  throw std::runtime_error("there is no activation function " + name);
}

std::shared_ptr<Net> make_model(const Settings& settings, const Data& data) {
  const bool one = settings.loss == "mse" || settings.loss.substr(0, 3) == "bce" || settings.head == "one_softmax";
  const std::int64_t outputs = one ? 1 : data.classes;
  const std::int64_t inputs =
      settings.model == "mlp" ? data.train_x[0].numel() : data.train_x.size(data.train_x.dim() - 1);
  if (settings.model == "mlp") return std::make_shared<Mlp>(settings, inputs, outputs);
  if (settings.model == "cnn") return std::make_shared<Cnn>(settings, outputs);
  if (settings.model == "lstm" || settings.model == "gru")
    return std::make_shared<Recurrent>(settings, inputs, outputs);
  if (settings.model == "encoder") return std::make_shared<Encoder>(settings, inputs, outputs);
  if (settings.model == "bag") return std::make_shared<Bag>(settings, outputs);
  throw std::runtime_error("there is no model " + settings.model);
}

}  // namespace gradhealth::zoo
