#pragma once

#include <cstdint>
#include <filesystem>

#include "zoo/training.h"

/// Healthy trainings whose loops are not the usual one. Each is deterministic by its seed; `metric` is not used.
namespace gradhealth::zoo {

/// Next-token prediction on text from a random grammar.
Result language_lstm(std::uint64_t seed, const std::filesystem::path& file);
/// The same, with attention and the output tied to the embedding, warm-up and AdamW.
Result language_transformer(std::uint64_t seed, const std::filesystem::path& file);
/// A generator and a critic of a ring of points. The diagnosis with more findings of the two.
Result gan(std::uint64_t seed, const std::filesystem::path& file);
/// Images, the loss summed over pixels and latents.
Result vae(std::uint64_t seed, const std::filesystem::path& file);
/// Balancing a pole, with a clipped surrogate loss over several epochs of each rollout.
Result actor_critic(std::uint64_t seed, const std::filesystem::path& file);
/// A loss scaled by a power of two, steps skipped when the scale was too large.
Result loss_scaler(std::uint64_t seed, const std::filesystem::path& file);
/// Residual branches whose last layer starts at zero.
Result zero_init_residual(std::uint64_t seed, const std::filesystem::path& file);
/// A frozen layer with a low-rank update, half of which starts at zero.
Result low_rank_adapter(std::uint64_t seed, const std::filesystem::path& file);
/// A trained body with its batch normalisation in evaluation mode, a new head.
Result fine_tuning(std::uint64_t seed, const std::filesystem::path& file);
Result autoencoder(std::uint64_t seed, const std::filesystem::path& file);
/// Images and shifted ones, the right partner's logit before those of the others.
Result contrastive(std::uint64_t seed, const std::filesystem::path& file);
/// The noise that was added to images.
Result diffusion(std::uint64_t seed, const std::filesystem::path& file);
/// The density of points on an arc, by affine couplings: a loss that becomes negative.
Result flow(std::uint64_t seed, const std::filesystem::path& file);
/// A critic whose labels are a little below 0 and beyond 1, and its generator.
Result noisy_label_gan(std::uint64_t seed, const std::filesystem::path& file);
/// A function by its second derivative, which the loss differentiates twice.
Result physics(std::uint64_t seed, const std::filesystem::path& file);
/// The value of balancing a pole, against a copy of the model that follows.
Result value_learning(std::uint64_t seed, const std::filesystem::path& file);
/// A critic of images with a penalty on its gradient, its loss negative.
Result wasserstein(std::uint64_t seed, const std::filesystem::path& file);
/// No optimizer at all: parameters are updated by hand.
Result manual_updates(std::uint64_t seed, const std::filesystem::path& file);

}  // namespace gradhealth::zoo
