#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "zoo/settings.h"

/// Trainings that go well, from which the faults start.
namespace gradhealth::zoo {

Settings blobs();
Settings images(const std::string& model);
Settings waves();
Settings circles();
Settings sequences(const std::string& model);
/// Columns of different units: kelvins, pascals, … Standardised as it has to be.
Settings units();
Settings deep(std::size_t layers, std::int64_t width, const std::string& activation);
Settings with(Settings settings, const std::function<void(Settings&)>& change);

}  // namespace gradhealth::zoo
