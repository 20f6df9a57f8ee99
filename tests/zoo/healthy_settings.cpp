#include "zoo/healthy_settings.h"

namespace gradhealth::zoo {

Settings blobs() { return {}; }

Settings images(const std::string& model) {
  Settings settings;
  settings.data = "images";
  settings.model = model;
  settings.hidden = {64, 64};
  return settings;
}

Settings waves() {
  Settings settings;
  settings.data = "waves";
  settings.loss = "mse";
  settings.hidden = {64, 64};
  settings.lr = 0.02;
  settings.steps = 500;
  return settings;
}

Settings circles() {
  Settings settings;
  settings.data = "circles";
  settings.loss = "bce_with_logits";
  settings.hidden = {32, 32};
  return settings;
}

Settings sequences(const std::string& model) {
  Settings settings;
  settings.data = "sequences";
  settings.model = model;
  settings.hidden = {32};
  settings.optimizer = "adam";
  settings.lr = 3e-3;
  return settings;
}

Settings units() {
  Settings settings = waves();
  settings.data = "units";
  settings.normalization = {1, {288, 101325, 0.6, 500}, {12, 900, 0.15, 300}};
  return settings;
}

Settings deep(std::size_t layers, std::int64_t width, const std::string& activation) {
  Settings settings;
  settings.hidden.assign(layers, width);
  settings.activation = activation;
  return settings;
}

Settings with(Settings settings, const std::function<void(Settings&)>& change) {
  change(settings);
  return settings;
}

}  // namespace gradhealth::zoo
