#include "hooks/models.h"

#include "support/catch.h"

namespace gradhealth::test {

Rows::Rows(const std::filesystem::path& path) {
  const RunReader reader(path);
  run = reader.run();
  reader.for_each_step([this](const StepRecord& row) { rows.push_back(row); });
}

double Rows::at(std::size_t row, Quantity quantity, const std::string& subject) const {
  const std::vector<Subject>& subjects = run.of(info(quantity).axis);
  for (std::size_t i = 0; i < subjects.size(); ++i)
    if (subjects[i].name == subject) return rows.at(row).at(quantity, i);
  FAIL("the run has no subject '" << subject << "'");
  return 0;
}

std::vector<std::string> Rows::names(Axis axis) const {
  std::vector<std::string> names;
  for (const Subject& subject : run.of(axis)) names.push_back(subject.name);
  return names;
}

torch::optim::SGD sgd(const torch::nn::Module& module, double rate) {
  return torch::optim::SGD(module.parameters(), torch::optim::SGDOptions(rate));
}

MonitorOptions every_step() {
  MonitorOptions options;
  options.every = 1;
  options.messages = Messages::kNone;
  return options;
}

}  // namespace gradhealth::test
