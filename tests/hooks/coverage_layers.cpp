#include "hooks/coverage_cases.h"

namespace gradhealth::test {
namespace {

namespace nn = torch::nn;

/// A layer with a fixed random input of the given shape.
template <typename Layer>
Part part(const std::string& name, Layer layer, const std::vector<std::int64_t>& shape) {
  const torch::Tensor input = torch::randn(shape);
  return {name, layer.ptr(), [layer, input]() mutable { return layer(input); }};
}

Walk convolutions() {
  return side_by_side(
      {part("conv1", nn::Conv1d(nn::Conv1dOptions(3, 4, 3)), {2, 3, 9}),
       part("conv2", nn::Conv2d(nn::Conv2dOptions(3, 4, 3).stride(2).padding(1)), {2, 3, 9, 8}),
       part("circular", nn::Conv2d(nn::Conv2dOptions(3, 4, 3).padding(1).padding_mode(torch::kCircular)), {2, 3, 6, 6}),
       part("conv3", nn::Conv3d(nn::Conv3dOptions(2, 4, 3).bias(false)), {2, 2, 5, 5, 5})});
}

Walk transposed_convolutions() {
  return side_by_side({part("up1", nn::ConvTranspose1d(nn::ConvTranspose1dOptions(3, 4, 3)), {2, 3, 9}),
                       part("up2", nn::ConvTranspose2d(nn::ConvTranspose2dOptions(3, 4, 3).stride(2)), {2, 3, 5, 5}),
                       part("up3", nn::ConvTranspose3d(nn::ConvTranspose3dOptions(2, 4, 3)), {2, 2, 4, 4, 4})});
}

Walk batch_norms() {
  return side_by_side({part("norm1", nn::BatchNorm1d(5), {8, 5}), part("norm2", nn::BatchNorm2d(3), {4, 3, 5, 5}),
                       part("norm3", nn::BatchNorm3d(2), {3, 2, 3, 3, 3})});
}

Walk other_norms() {
  return side_by_side({part("layer", nn::LayerNorm(nn::LayerNormOptions({6})), {4, 5, 6}),
                       part("group", nn::GroupNorm(nn::GroupNormOptions(2, 4)), {3, 4, 5, 5}),
                       part("instance", nn::InstanceNorm2d(nn::InstanceNorm2dOptions(3).affine(true)), {2, 3, 6, 6})});
}

Walk bilinear() {
  nn::Bilinear layer(3, 4, 5);
  const torch::Tensor a = torch::randn({6, 3});
  const torch::Tensor b = torch::randn({6, 4});
  return side_by_side({{"mix", layer.ptr(), [=]() mutable { return layer(a, b); }}});
}

Walk embeddings() {
  nn::Embedding embedding(7, 5);
  nn::EmbeddingBag bag(7, 5);
  const torch::Tensor tokens = torch::randint(7, {4, 3});
  return side_by_side({{"embed", embedding.ptr(), [=]() mutable { return embedding(tokens); }},
                       {"bag", bag.ptr(), [=]() mutable { return bag(tokens); }}});
}

Walk sparse_embedding() {
  nn::Embedding embedding(nn::EmbeddingOptions(50, 5).sparse(true));
  const torch::Tensor tokens = torch::tensor({3, 3, 17, 3, 49}, torch::kInt64);  // A repeated row is not coalesced.
  return side_by_side({{"embed", embedding.ptr(), [=]() mutable { return embedding(tokens); }}});
}

}  // namespace

std::vector<CoverageCase> layer_cases() {
  return {
      {"Linear, 2-D input", "",
       [] {
         return side_by_side({part("fc", nn::Linear(5, 7), {6, 5})});
       }},
      {"Linear, input and output of equal shape", "",
       [] {
         return side_by_side({part("fc", nn::Linear(5, 5), {5, 5})});
       }},
      {"Linear, 3-D input", "product and bias are one activation",
       [] {
         return side_by_side({part("fc", nn::Linear(5, 7), {3, 4, 5})});
       }},
      {"Linear without bias", "",
       [] {
         const auto options = nn::LinearOptions(5, 7).bias(false);
         return side_by_side({part("fc2d", nn::Linear(options), {6, 5}), part("fc3d", nn::Linear(options), {3, 4, 5})});
       }},
      {"Bilinear", "", bilinear},
      {"Conv1d, Conv2d, Conv3d", "units are channels", convolutions},
      {"ConvTranspose1d, 2d, 3d", "units are channels", transposed_convolutions},
      {"BatchNorm1d, 2d, 3d", "", batch_norms},
      {"LayerNorm, GroupNorm, InstanceNorm", "with `affine`; without parameters they are followed, not recorded",
       other_norms},
      {"PReLU", "",
       [] {
         return side_by_side({part("prelu", nn::PReLU(nn::PReLUOptions().num_parameters(4)), {6, 4})});
       }},
      {"Embedding, EmbeddingBag", "their input has no statistics", embeddings},
      {"Embedding with sparse gradients", "elements without an entry count as zero", sparse_embedding},
  };
}

}  // namespace gradhealth::test
