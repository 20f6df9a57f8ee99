#include "zoo/data.h"

#include <cmath>
#include <stdexcept>

#include "tools/demo_data.h"

namespace gradhealth::zoo {
namespace {

constexpr std::int64_t kTrain = 2000;
constexpr std::int64_t kTest = 500;

Data divide(const torch::Tensor& x, const torch::Tensor& y, std::int64_t classes) {
  return {x.slice(0, 0, kTrain), y.slice(0, 0, kTrain), x.slice(0, kTrain), y.slice(0, kTrain), classes};
}

/// Four Gaussian clouds in ten dimensions, standardised.
Data blobs() {
  const torch::Tensor y = torch::randint(4, {kTrain + kTest});
  const torch::Tensor centres = torch::randn({4, 10}) * 1.5;
  torch::Tensor x = centres.index_select(0, y) + torch::randn({kTrain + kTest, 10});
  x = (x - x.mean(0)) / x.std(0);
  return divide(x, y, 4);
}

/// A ring around a disc.
Data circles() {
  const torch::Tensor y = torch::randint(2, {kTrain + kTest});
  const torch::Tensor angle = torch::rand({kTrain + kTest}) * 2 * M_PI;
  const torch::Tensor radius = 0.5 + y.to(torch::kFloat32) * 0.8 + torch::randn({kTrain + kTest}) * 0.12;
  return divide(torch::stack({radius * angle.cos(), radius * angle.sin()}, 1), y, 2);
}

/// A smooth function of eight numbers, standardised.
Data waves() {
  const torch::Tensor x = torch::randn({kTrain + kTest, 8});
  torch::Tensor y = (x.select(1, 0) * 1.5).sin() + x.select(1, 1) * x.select(1, 2) * 0.5 + x.select(1, 3) * 0.8 +
                    torch::randn({kTrain + kTest}) * 0.1;
  y = (y - y.mean()) / y.std();
  return divide(x, y.unsqueeze(1), 0);
}

/// Weather: kelvin, pascal, a share, metres; what is looked for is a temperature's deviation.
Data units() {
  const std::int64_t n = kTrain + kTest;
  const torch::Tensor z = torch::randn({n, 4});
  const torch::Tensor x = torch::stack({288 + 12 * z.select(1, 0), 101325 + 900 * z.select(1, 1),
                                        (0.6 + 0.15 * z.select(1, 2)).clamp(0, 1), (500 + 300 * z.select(1, 3)).abs()},
                                       1);
  torch::Tensor y =
      0.7 * z.select(1, 0) - 0.5 * z.select(1, 3) + 0.4 * (z.select(1, 1) * z.select(1, 2)) + 0.1 * torch::randn({n});
  return divide(x, ((y - y.mean()) / y.std()).unsqueeze(1), 0);
}

/// Which of three slow patterns hides in the noise of four channels over twenty times.
Data sequences() {
  const std::int64_t n = kTrain + kTest;
  const torch::Tensor y = torch::randint(3, {n});
  const torch::Tensor time = torch::linspace(0, 1, 20).view({1, 20, 1});
  const torch::Tensor frequency = (y.to(torch::kFloat32) + 1).view({n, 1, 1});
  const torch::Tensor phase = 0.2 * torch::rand({n, 1, 4});
  const torch::Tensor x = (2 * M_PI * (frequency * time + phase)).sin() + 0.3 * torch::randn({n, 20, 4});
  return divide(x, y, 3);
}

/// Sixteen of 200 words, drawn by topic.
Data documents() {
  const std::int64_t n = kTrain + kTest;
  const torch::Tensor y = torch::randint(4, {n});
  const torch::Tensor topical = torch::randint(50, {n, 16}) + y.unsqueeze(1) * 50;
  const torch::Tensor any = torch::randint(200, {n, 16});
  return divide(torch::where(torch::rand({n, 16}) < 0.4, topical, any), y, 4);
}

/// Fashion-MNIST at a quarter of its resolution, in [0, 1].
Data images() {
  const std::filesystem::path directory = "/usr/share/datasets/fashion-mnist";
  const auto tensors = [&](const char* set, std::int64_t count) {
    const demo::Images images = demo::read_images(directory, set);
    torch::Tensor x = torch::tensor(at::ArrayRef<std::uint8_t>(images.pixels).slice(0, count * 784), torch::kUInt8);
    x = torch::avg_pool2d(x.view({count, 1, 28, 28}).to(torch::kFloat32), 2).round() / 255;
    const torch::Tensor y =
        torch::tensor(at::ArrayRef<std::uint8_t>(images.labels).slice(0, count), torch::kUInt8).to(torch::kInt64);
    return std::make_pair(x, y);
  };
  const auto [train_x, train_y] = tensors("train", 3 * kTrain);
  const auto [test_x, test_y] = tensors("t10k", 2 * kTest);
  return {train_x, train_y, test_x, test_y, 10};
}

/// Per channel of images and sequences, per feature otherwise.
torch::Tensor normalized(const torch::Tensor& x, const Normalization& by) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(x.dim()), 1);
  shape[x.dim() == 4 ? 1 : static_cast<std::size_t>(x.dim()) - 1] = static_cast<std::int64_t>(by.mean.size());
  const auto row = [&](const std::vector<double>& values) {
    return torch::tensor(values, torch::kFloat64).to(torch::kFloat32).view(shape);
  };
  return (x / by.scale - row(by.mean)) / row(by.std);
}

}  // namespace

Data make_data(const std::string& name, std::uint64_t seed) {
  torch::manual_seed(seed);
  if (name == "blobs") return blobs();
  if (name == "circles") return circles();
  if (name == "waves") return waves();
  if (name == "units") return units();
  if (name == "sequences") return sequences();
  if (name == "documents") return documents();
  if (name == "images") return images();
  throw std::runtime_error("there is no data set " + name);
}

Data prepare(Data data, const Settings& settings) {
  const auto each_input = [&](const auto& change) {
    if (!data.train_x.is_floating_point()) return;
    data.train_x = change(data.train_x);
    data.test_x = change(data.test_x);
  };
  if (settings.samples > 0) {
    data.train_x = data.train_x.slice(0, 0, settings.samples);
    data.train_y = data.train_y.slice(0, 0, settings.samples);
  }
  each_input([&](const torch::Tensor& x) { return x * settings.input_scale + settings.input_offset; });
  if (settings.constant_input) each_input([](const torch::Tensor& x) { return torch::zeros_like(x); });
  if (settings.bad_value) {
    data.train_x = data.train_x.clone();
    data.train_x.view({data.train_x.size(0), -1})[data.train_x.size(0) / 10][0] = NAN;
  }
  if (settings.normalization)
    each_input([&](const torch::Tensor& x) { return normalized(x, *settings.normalization); });
  data.test_x = data.test_x.is_floating_point() ? data.test_x * settings.eval_scale : data.test_x;
  if (!settings.shuffled) {
    const torch::Tensor order = std::get<1>(data.train_y.flatten().sort());
    data.train_x = data.train_x.index_select(0, order);
    data.train_y = data.train_y.index_select(0, order);
  }
  const auto each_target = [&](torch::Tensor y) {
    y = y * settings.target_scale + settings.target_offset;
    return settings.target_normalization ? normalized(y, *settings.target_normalization) : y;
  };
  if (data.classes == 0) data.test_y = each_target(data.test_y);
  // Of classes, evaluation counts the right ones, whatever number the training has given them.
  if (data.classes == 0 || settings.target_scale != 1) data.train_y = each_target(data.train_y);
  if (settings.constant_target) data.train_y = torch::full_like(data.train_y, data.classes - 1);
  return data;
}

}  // namespace gradhealth::zoo
