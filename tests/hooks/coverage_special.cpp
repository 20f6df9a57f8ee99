#include <torch/script.h>

#include "hooks/coverage_cases.h"

namespace gradhealth::test {
namespace {

namespace nn = torch::nn;
using torch::Tensor;

/// x·|w|, written as a function of its own.
struct Scale : torch::autograd::Function<Scale> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& w) {
    context->save_for_backward({x, w});
    return x * w.abs();
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {gradients[0] * saved[1].abs(), (gradients[0] * saved[0]).sum(0) * saved[1].sign()};
  }
};

Walk custom_function() {
  nn::Linear fc1(4, 5), fc2(5, 2);
  const Tensor scale = torch::randn({5});
  const Tensor input = torch::randn({3, 4});
  const std::shared_ptr<nn::Module> root = root_of({{"fc1", fc1.ptr()}, {"fc2", fc2.ptr()}});
  root->register_parameter("scale", scale);
  return {root,
          {},
          [=]() mutable { return loss_of(fc2(Scale::apply(fc1(input), scale).tanh())); },
          [=]() mutable {
            const Tensor a = fc1(input), b = fc2((a * scale.abs()).tanh());
            return ByHand{loss_of(b), {{"fc1", a}, {"fc2", b}}};
          },
          {},
          {}};
}

Walk script_module() {
  torch::jit::setGraphExecutorOptimize(false);
  const std::shared_ptr<void> setting(nullptr, [](void*) { torch::jit::setGraphExecutorOptimize(true); });
  const Tensor w1 = torch::randn({6, 4}).requires_grad_(), b1 = torch::randn({6}).requires_grad_();
  const Tensor w2 = torch::randn({2, 6}).requires_grad_();
  auto module = std::make_shared<torch::jit::Module>("net");
  module->register_parameter("w1", w1, false);
  module->register_parameter("b1", b1, false);
  module->register_parameter("w2", w2, false);
  module->define(R"(
    def forward(self, x):
        h = torch.relu(torch.matmul(x, self.w1.t()) + self.b1)
        return torch.matmul(h, self.w2.t())
  )");
  const Tensor input = torch::randn({3, 4});
  for (int call = 0; call < 3; ++call) module->forward({input});  // The executor optimises from the second call on.
  return {nullptr,
          {{"w1", w1}, {"b1", b1}, {"w2", w2}},
          [=] { return loss_of(module->forward({input}).toTensor()); },
          [=] {
            const Tensor a = input.matmul(w1.t()) + b1, relu = a.relu(), b = relu.matmul(w2.t());
            return ByHand{loss_of(b), {{"w1", a}, {"w1:relu", relu}, {"w2", b}}};
          },
          {},
          setting};
}

/// Two linear layers and a ReLU, of a given precision.
Walk small_net(torch::ScalarType type, const std::function<void(nn::Sequential&)>& after_attaching) {
  nn::Sequential net(nn::Linear(4, 6), nn::ReLU(), nn::Linear(6, 2));
  net->to(type);
  const Tensor input = torch::randn({5, 4});
  return {net.ptr(),
          {},
          [=]() mutable { return loss_of(net->forward(input.to(net->parameters()[0].dtype()))); },
          [=]() mutable {
            const Tensor a = net[0]->as<nn::Linear>()->forward(input.to(net->parameters()[0].dtype())), relu = a.relu();
            const Tensor b = net[2]->as<nn::Linear>()->forward(relu);
            return ByHand{loss_of(b), {{"0", a}, {"0:relu", relu}, {"2", b}}};
          },
          [=]() mutable {
            if (after_attaching) after_attaching(net);
          },
          {}};
}

/// Products of matrices in half precision do not exist on every CPU build; these operators do.
Walk half_precision() {
  const Tensor gain = torch::randn({6}).to(torch::kHalf), shift = torch::randn({6}).to(torch::kHalf);
  auto affine = std::make_shared<nn::Module>();
  affine->register_parameter("gain", gain);
  affine->register_parameter("shift", shift);
  const Tensor input = torch::randn({5, 6}).to(torch::kHalf);
  const std::function<ByHand()> by_hand = [=] {
    const Tensor a = input * gain, b = a + shift;
    return ByHand{loss_of(b), {{"affine", a}, {"affine#1", b}}};
  };
  return walk_of({{"affine", affine}}, by_hand);
}

/// Undefined, zero and frozen.
Walk missing_gradients() {
  nn::Linear frozen(4, 5), used(5, 3), unused(3, 3);
  for (Tensor& parameter : frozen->parameters()) parameter.requires_grad_(false);
  const Tensor input = torch::randn({2, 4});
  const std::function<ByHand()> by_hand = [=]() mutable {
    const Tensor a = frozen(input), b = used(a);
    return ByHand{loss_of(b) * 0, {{"frozen", a}, {"used", b}}};
  };
  return walk_of({{"frozen", frozen.ptr()}, {"used", used.ptr()}, {"unused", unused.ptr()}}, by_hand);
}

Walk replaced_memory() {
  return small_net(torch::kFloat32, [](nn::Sequential& net) {
    for (Tensor& parameter : net->parameters()) parameter.set_data(torch::randn_like(parameter));
  });
}

}  // namespace

std::vector<CoverageCase> special_cases() {
  return {
      {"`torch::autograd::Function`", "its own output is not seen: `tap()` it; gradients of its parameters are",
       custom_function},
      {"`torch::jit::Module`",
       "parameters given as named tensors; after `torch::jit::setGraphExecutorOptimize(false)`, without which only "
       "parameter gradients are sure",
       script_module},
      {"double precision", "", [] { return small_net(torch::kFloat64, {}); }},
      {"bfloat16", "", [] { return small_net(torch::kBFloat16, {}); }},
      {"half precision", "elementwise: LibTorch 1.13 has no half products on the CPU", half_precision},
      {"frozen, unused and zero gradients",
       "frozen: no gradient and an event `frozen-parameter`; unused: no gradient; zero: 0", missing_gradients},
      {"converted after attaching, `net->to(torch::kFloat64)`", "",
       [] { return small_net(torch::kFloat32, [](nn::Sequential& net) { net->to(torch::kFloat64); }); }},
      {"memory replaced after attaching, `set_data`", "", replaced_memory},
  };
}

}  // namespace gradhealth::test
