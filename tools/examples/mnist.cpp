// A convolutional net on Fashion-MNIST.
//   example_mnist broken|fixed DIRECTORY [RUN.h5]     DIRECTORY holds the four idx files, unpacked
// Broken: the pixels go in as they are stored, 0 to 255. Fixed: less their mean, over their standard deviation, as
// `gradhealth report RUN.h5` recommends of the broken run.
#include <cstdint>
#include <iostream>
#include <string>

#include <torch/torch.h>

#include <gradhealth/hooks.h>

namespace data = torch::data;

struct NetImpl : torch::nn::Module {
  torch::nn::Conv2d conv1{torch::nn::Conv2dOptions(1, 8, 3)};
  torch::nn::Conv2d conv2{torch::nn::Conv2dOptions(8, 16, 3)};
  torch::nn::Linear fc1{16 * 5 * 5, 64};
  torch::nn::Linear fc2{64, 10};

  NetImpl() {
    register_module("conv1", conv1);
    register_module("conv2", conv2);
    register_module("fc1", fc1);
    register_module("fc2", fc2);
  }
  torch::Tensor forward(torch::Tensor x) {
    x = torch::max_pool2d(torch::relu(conv1(x)), 2);
    x = torch::max_pool2d(torch::relu(conv2(x)), 2);
    return fc2(torch::relu(fc1(x.flatten(1))));
  }
};
TORCH_MODULE(Net);

int main(int argc, char** argv) {
  const std::string which = argc > 1 ? argv[1] : "";
  if (argc < 3 || (which != "broken" && which != "fixed")) {
    std::cerr << "usage: example_mnist broken|fixed DIRECTORY [RUN.h5]\n";
    return 2;
  }
  torch::manual_seed(1);
  // LibTorch's reader divides by 255; most others do not.
  const auto pixels = [](const data::Example<>& image) { return data::Example<>{image.data * 255, image.target}; };
  const auto set = [&](data::datasets::MNIST::Mode mode) {
    return data::datasets::MNIST(argv[2], mode)
        .map(data::transforms::Lambda<data::Example<>>(pixels))
        .map(which == "fixed" ? data::transforms::Normalize<>(72.94, 90.02) : data::transforms::Normalize<>(0, 1))
        .map(data::transforms::Stack<>());
  };
  auto training = data::make_data_loader<data::samplers::RandomSampler>(set(data::datasets::MNIST::Mode::kTrain), 64);
  auto test = data::make_data_loader<data::samplers::SequentialSampler>(set(data::datasets::MNIST::Mode::kTest), 1000);

  Net net;
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
  gradhealth::Monitor monitor(*net, optimizer, argc > 3 ? argv[3] : "mnist-" + which + ".h5");
  int step = 0;
  for (const auto& batch : *training) {
    optimizer.zero_grad();
    const torch::Tensor loss = torch::cross_entropy_loss(net->forward(batch.data), batch.target);
    monitor.backward(loss);
    monitor.step(loss);
    optimizer.step();
    if (step % 50 == 0) std::cout << "step " << step << "  loss " << loss.item<float>() << '\n';
    if (++step == 300) break;
  }

  const torch::NoGradGuard no_grad;
  net->eval();
  std::int64_t right = 0, all = 0;
  for (const auto& batch : *test) {
    right += net->forward(batch.data).argmax(1).eq(batch.target).sum().item<std::int64_t>();
    all += batch.target.size(0);
  }
  std::cout << "right on " << 100 * right / all << " % of the test images\n";
}
