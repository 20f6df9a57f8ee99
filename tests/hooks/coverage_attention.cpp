#include <cmath>

#include "hooks/coverage_cases.h"

namespace gradhealth::test {
namespace {

namespace nn = torch::nn;

constexpr std::int64_t kWidth = 8;
constexpr std::int64_t kHeads = 2;

torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  return x.matmul(weight.t()) + bias;
}

/// Scaled dot-product attention from its definition, on inputs of [time × batch × width].
torch::Tensor attend(nn::MultiheadAttention layer, const torch::Tensor& query, const torch::Tensor& memory,
                     const std::string& name, std::vector<Reference>& seen) {
  const torch::Tensor weight = layer->in_proj_weight;
  const torch::Tensor bias = layer->in_proj_bias;
  torch::Tensor q, k, v;
  std::string softmax_name = name + ":softmax";
  if (query.is_same(memory)) {
    const torch::Tensor projected = linear(query, weight, bias);
    seen.push_back({name, projected});
    const auto parts = projected.chunk(3, -1);
    q = parts[0], k = parts[1], v = parts[2];
  } else {
    q = linear(query, weight.slice(0, 0, kWidth), bias.slice(0, 0, kWidth));
    const torch::Tensor projected = linear(memory, weight.slice(0, kWidth), bias.slice(0, kWidth));
    seen.push_back({name, q});
    seen.push_back({name + "#1", projected});
    softmax_name = name + "#1:softmax";
    const auto parts = projected.chunk(2, -1);
    k = parts[0], v = parts[1];
  }
  const auto heads = [](const torch::Tensor& x) {
    return x.reshape({x.size(0), x.size(1) * kHeads, kWidth / kHeads}).transpose(0, 1);
  };
  const torch::Tensor scores = heads(q).bmm(heads(k).transpose(1, 2)) / std::sqrt(1.0 * kWidth / kHeads);
  const torch::Tensor softmax = scores.softmax(-1);
  seen.push_back({softmax_name, softmax});
  const torch::Tensor joined = softmax.bmm(heads(v)).transpose(0, 1).reshape(query.sizes());
  const torch::Tensor output = linear(joined, layer->out_proj->weight, layer->out_proj->bias);
  seen.push_back({name + ".out_proj", output});
  return output;
}

template <typename Layer>
torch::Tensor feed_forward(Layer& layer, const torch::Tensor& x, const std::string& name,
                           std::vector<Reference>& seen) {
  const torch::Tensor wide = layer->linear1(x);
  const torch::Tensor relu = wide.relu();
  const torch::Tensor output = layer->linear2(relu);
  seen.push_back({name + ".linear1", wide});
  seen.push_back({name + ".linear1:relu", relu});
  seen.push_back({name + ".linear2", output});
  return output;
}

Walk self_attention() {
  nn::MultiheadAttention layer(nn::MultiheadAttentionOptions(kWidth, kHeads));
  const torch::Tensor x = torch::randn({5, 3, kWidth});
  return {root_of({{"attention", layer.ptr()}}),
          {},
          [=]() mutable { return loss_of(std::get<0>(layer(x, x, x))); },
          [=]() mutable {
            ByHand pass;
            pass.loss = loss_of(attend(layer, x, x, "attention", pass.activations));
            return pass;
          },
          {},
          {}};
}

Walk encoder() {
  nn::TransformerEncoder net(
      nn::TransformerEncoderLayer(nn::TransformerEncoderLayerOptions(kWidth, kHeads).dim_feedforward(12).dropout(0)),
      1);
  const torch::Tensor source = torch::randn({5, 3, kWidth});
  return {net.ptr(),
          {},
          [=]() mutable { return loss_of(net(source)); },
          [=]() mutable {
            ByHand pass;
            const std::string name = "layers.0";
            auto* layer = net->layers[0]->as<nn::TransformerEncoderLayer>();
            torch::Tensor x = source;
            x = layer->norm1(x + attend(layer->self_attn, x, x, name + ".self_attn", pass.activations));
            pass.activations.push_back({name + ".norm1", x});
            x = layer->norm2(x + feed_forward(layer, x, name, pass.activations));
            pass.activations.push_back({name + ".norm2", x});
            pass.loss = loss_of(x);
            return pass;
          },
          {},
          {}};
}

Walk decoder() {
  nn::TransformerDecoder net(
      nn::TransformerDecoderLayer(nn::TransformerDecoderLayerOptions(kWidth, kHeads).dim_feedforward(12).dropout(0)),
      1);
  const torch::Tensor target = torch::randn({4, 3, kWidth});
  const torch::Tensor memory = torch::randn({5, 3, kWidth});
  return {net.ptr(),
          {},
          [=]() mutable { return loss_of(net(target, memory)); },
          [=]() mutable {
            ByHand pass;
            const std::string name = "layers.0";
            auto* layer = net->layers[0]->as<nn::TransformerDecoderLayer>();
            torch::Tensor x = target;
            x = layer->norm1(x + attend(layer->self_attn, x, x, name + ".self_attn", pass.activations));
            pass.activations.push_back({name + ".norm1", x});
            x = layer->norm2(x + attend(layer->multihead_attn, x, memory, name + ".multihead_attn", pass.activations));
            pass.activations.push_back({name + ".norm2", x});
            x = layer->norm3(x + feed_forward(layer, x, name, pass.activations));
            pass.activations.push_back({name + ".norm3", x});
            pass.loss = loss_of(x);
            return pass;
          },
          {},
          {}};
}

}  // namespace

std::vector<CoverageCase> attention_cases() {
  return {
      {"MultiheadAttention", "the projection of query, key and value, the attention weights, the output",
       self_attention},
      {"TransformerEncoder", "", encoder},
      {"TransformerDecoder", "`#1` is the projection of the memory", decoder},
  };
}

}  // namespace gradhealth::test
