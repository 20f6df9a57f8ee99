#include "hooks/coverage_cases.h"

namespace gradhealth::test {
namespace {

namespace nn = torch::nn;
using torch::Tensor;

/// A module with parameters of its own.
std::shared_ptr<nn::Module> parameters(const NamedTensors& tensors) {
  auto module = std::make_shared<nn::Module>();
  for (const auto& [name, tensor] : tensors) module->register_parameter(name, tensor);
  return module;
}

Walk sequential() {
  nn::Sequential net(nn::Linear(5, 6), nn::ReLU(), nn::Linear(6, 6), nn::Tanh(), nn::Linear(6, 3),
                     nn::LogSoftmax(nn::LogSoftmaxOptions(1)));
  const Tensor input = torch::randn({4, 5});
  return {net.ptr(),
          {},
          [=]() mutable { return loss_of(net->forward(input)); },
          [=]() mutable {
            const Tensor a = net[0]->as<nn::Linear>()->forward(input);
            const Tensor relu = a.relu();
            const Tensor b = net[2]->as<nn::Linear>()->forward(relu);
            const Tensor tanh = b.tanh();
            const Tensor c = net[4]->as<nn::Linear>()->forward(tanh);
            const Tensor scores = c.log_softmax(1);
            return ByHand{
                loss_of(scores),
                {{"0", a}, {"0:relu", relu}, {"2", b}, {"2:tanh", tanh}, {"4", c}, {"4:log_softmax", scores}}};
          },
          {},
          {}};
}

Walk module_list() {
  nn::ModuleList layers(nn::Linear(4, 4), nn::Linear(4, 4));
  const Tensor input = torch::randn({3, 4});
  return walk_of({{"layers", layers.ptr()}}, [=]() mutable {
    ByHand pass;
    Tensor x = input;
    for (std::size_t i = 0; i < layers->size(); ++i) {
      x = layers[i]->as<nn::Linear>()->forward(x);
      pass.activations.push_back({"layers." + std::to_string(i), x});
      x = torch::silu(x);
      pass.activations.push_back({"layers." + std::to_string(i) + ":silu", x});
    }
    pass.loss = loss_of(x);
    return pass;
  });
}

Walk custom_module() {
  const Tensor w1 = torch::randn({5, 8}), b1 = torch::randn({8}), w2 = torch::randn({8, 2});
  const Tensor input = torch::randn({9, 5});
  return walk_of({{"block", parameters({{"w1", w1}, {"b1", b1}, {"w2", w2}})}}, [=] {
    const Tensor a = torch::matmul(input, w1) + b1;
    const Tensor gelu = torch::gelu(a);
    const Tensor b = torch::matmul(gelu, w2);
    return ByHand{loss_of(b), {{"block", a}, {"block:gelu", gelu}, {"block#1", b}}};
  });
}

Walk tied_weights() {
  nn::Embedding embed(11, 6);
  const Tensor bias = torch::randn({11});
  const Tensor tokens = torch::randint(11, {4, 3});
  return walk_of({{"embed", embed.ptr()}, {"decoder", parameters({{"weight", embed->weight}, {"bias", bias}})}},
                 [=]() mutable {
                   const Tensor x = embed(tokens);
                   const Tensor scores = nn::functional::linear(x, embed->weight, bias);
                   return ByHand{loss_of(scores), {{"embed", x}, {"decoder", scores}}};
                 });
}

Walk tied_without_bias() {
  nn::Embedding embed(11, 6);
  const Tensor tokens = torch::randint(11, {4, 3});
  return walk_of({{"embed", embed.ptr()}, {"decoder", parameters({{"weight", embed->weight}})}}, [=]() mutable {
    const Tensor x = embed(tokens);
    const Tensor scores = x.matmul(embed->weight.t());
    return ByHand{loss_of(scores), {{"embed", x}, {"embed#1", scores}}};
  });
}

Walk weight_normalisation() {
  const Tensor v = torch::randn({7, 5}), g = torch::rand({7, 1}), bias = torch::randn({7});
  const Tensor input = torch::randn({4, 5});
  return walk_of({{"wn", parameters({{"v", v}, {"g", g}, {"bias", bias}})}}, [=] {
    const Tensor a = nn::functional::linear(input, g * v / v.norm(2, {1}, true), bias);
    const Tensor b = nn::functional::linear(a.slice(1, 0, 5), torch::_weight_norm(v, g, 0));
    return ByHand{loss_of(b), {{"wn", a}, {"wn#1", b}}};
  });
}

Walk several_calls() {
  nn::Linear fc(4, 4);
  const Tensor input = torch::randn({3, 4});
  return walk_of({{"fc", fc.ptr()}}, [=]() mutable {
    const Tensor a = fc(input), tanh = a.tanh(), b = fc(tanh), sigmoid = b.sigmoid(), c = fc(sigmoid);
    return ByHand{loss_of(c) + loss_of(a),
                  {{"fc", a}, {"fc:tanh", tanh}, {"fc#1", b}, {"fc#1:sigmoid", sigmoid}, {"fc#2", c}}};
  });
}

Walk in_place() {
  nn::Linear fc1(4, 6), fc2(6, 6), fc3(6, 2);
  const Tensor input = torch::randn({3, 4});
  return {root_of({{"fc1", fc1.ptr()}, {"fc2", fc2.ptr()}, {"fc3", fc3.ptr()}}),
          {},
          [=]() mutable {
            Tensor x = fc1(input);
            x.relu_();
            x = fc2(x);
            x.narrow(1, 0, 3).mul_(2);
            nn::functional::elu(x, nn::functional::ELUFuncOptions().inplace(true));
            return loss_of(fc3(x));
          },
          [=]() mutable {
            const Tensor a = fc1(input), relu = a.relu(), b = fc2(relu);
            const Tensor doubled = torch::cat({b.narrow(1, 0, 3) * 2, b.narrow(1, 3, 3)}, 1);
            const Tensor elu = torch::elu(doubled), c = fc3(elu);
            return ByHand{loss_of(c), {{"fc1", a}, {"fc1:relu", relu}, {"fc2", b}, {"fc2:elu", elu}, {"fc3", c}}};
          },
          {},
          {}};
}

Walk residual_branches() {
  nn::Linear fc1(4, 4), fc2(4, 4);
  const Tensor input = torch::randn({3, 4});
  return walk_of({{"fc1", fc1.ptr()}, {"fc2", fc2.ptr()}}, [=]() mutable {
    const Tensor a = fc1(input), relu = a.relu(), b = fc2(relu), sum = (b + relu + a).relu();
    return ByHand{loss_of(sum) + loss_of(a), {{"fc1", a}, {"fc1:relu", relu}, {"fc2", b}, {"fc2:relu", sum}}};
  });
}

Walk views() {
  const Tensor weight = torch::randn({8, 4});
  nn::Linear fc(4, 8);
  const Tensor input = torch::randn({5, 4});
  return walk_of({{"heads", parameters({{"weight", weight}})}, {"fc", fc.ptr()}}, [=]() mutable {
    const Tensor a = input.matmul(weight.slice(0, 0, 4).t()), b = fc(a);
    const std::vector<Tensor> gates = b.chunk(2, 1);
    const Tensor sigmoid = gates[0].sigmoid(), tanh = gates[1].tanh();
    const Tensor c = (sigmoid * tanh).matmul(weight.narrow(0, 4, 4).t());
    return ByHand{loss_of(c), {{"heads", a}, {"fc", b}, {"fc:sigmoid", sigmoid}, {"fc:tanh", tanh}, {"heads#1", c}}};
  });
}

}  // namespace

std::vector<CoverageCase> composition_cases() {
  return {
      {"Sequential", "parameterless modules are named after the layer before", sequential},
      {"ModuleList", "", module_list},
      {"custom module, `torch::matmul` with its own parameters", "each product is a record", custom_module},
      {"tied weights", "the bias tells the layers apart", tied_weights},
      {"tied weights without bias", "named after the first owner", tied_without_bias},
      {"weight normalisation", "weights derived from parameters alone are no activations", weight_normalisation},
      {"module called several times", "each call is its own record", several_calls},
      {"in-place activations and edits", "values and gradient before the edit", in_place},
      {"residual branches", "the total gradient, over all uses of the activation", residual_branches},
      {"views and slices", "of weights and of activations", views},
  };
}

}  // namespace gradhealth::test
