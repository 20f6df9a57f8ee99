// A generator that learns points on a circle from a discriminator.
//   example_gan broken|fixed [DIRECTORY/]             a run file for each of the two models
// Broken: the generator's backward pass leaves gradients in the discriminator, which are never cleared, and so take
// part in its next update. Fixed: they are cleared before the discriminator's own backward pass.
#include <cmath>
#include <iostream>
#include <string>

#include <torch/torch.h>

#include <gradhealth/hooks.h>

torch::nn::Sequential chain(std::int64_t inputs, std::int64_t outputs) {
  return torch::nn::Sequential(torch::nn::Linear(inputs, 32), torch::nn::LeakyReLU(), torch::nn::Linear(32, 32),
                               torch::nn::LeakyReLU(), torch::nn::Linear(32, outputs));
}

torch::Tensor loss_of(const torch::Tensor& logits, double label) {
  return torch::binary_cross_entropy_with_logits(logits, torch::full_like(logits, label));
}

int main(int argc, char** argv) {
  const std::string which = argc > 1 ? argv[1] : "";
  if (which != "broken" && which != "fixed") {
    std::cerr << "usage: example_gan broken|fixed [DIRECTORY/]\n";
    return 2;
  }
  torch::manual_seed(1);
  torch::nn::Sequential generator = chain(8, 2);
  torch::nn::Sequential discriminator = chain(2, 1);
  const auto adam = torch::optim::AdamOptions(1e-3).betas({0.5, 0.9});
  torch::optim::Adam generator_optimizer(generator->parameters(), adam);
  torch::optim::Adam discriminator_optimizer(discriminator->parameters(), adam);

  const std::string directory = argc > 2 ? argv[2] : "gan-" + which + "/";
  gradhealth::MonitorOptions options;
  options.loss_kind = gradhealth::LossKind::kAdversarial;
  options.name = "generator";
  gradhealth::Monitor generator_monitor(*generator, generator_optimizer, directory, options);
  options.name = "discriminator";
  gradhealth::Monitor discriminator_monitor(*discriminator, discriminator_optimizer, directory, options);

  for (int step = 0; step < 1000; ++step) {
    const torch::Tensor angle = 2 * M_PI * torch::rand({64});
    const torch::Tensor real = torch::stack({angle.cos(), angle.sin()}, 1) + 0.05 * torch::randn({64, 2});
    const torch::Tensor fake = generator->forward(torch::randn({64, 8}));

    if (which == "fixed") discriminator_optimizer.zero_grad();
    const torch::Tensor discriminator_loss =
        loss_of(discriminator->forward(real), 1) + loss_of(discriminator->forward(fake.detach()), 0);
    discriminator_loss.backward();
    discriminator_monitor.step(discriminator_loss);
    discriminator_optimizer.step();

    generator_optimizer.zero_grad();
    const torch::Tensor generator_loss = loss_of(discriminator->forward(fake), 1);
    generator_loss.backward();
    generator_monitor.step(generator_loss);
    generator_optimizer.step();
    if (step % 100 == 0)
      std::cout << "step " << step << "  discriminator " << discriminator_loss.item<float>() << "  generator "
                << generator_loss.item<float>() << '\n';
  }

  const torch::NoGradGuard no_grad;
  const torch::Tensor radius = generator->forward(torch::randn({1000, 8})).norm(2, 1);
  std::cout << "distance from the centre " << radius.mean().item<float>() << " ± " << radius.std().item<float>()
            << '\n';
}
