#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <gradhealth/report.h>

/// Runs made of curves, for comparisons.
namespace gradhealth::test {

struct Curves {
  std::function<double(int)> loss = [](int step) { return 0.1 + 2 * (step < 50); };
  double gradient_norm = 1;
  double step_time = 0.01;
  int steps = 100;
};

/// One healthy model with two parameters and nothing found.
Report run_of(const Curves& curves, const std::string& name = "run.h5");

/// The same with findings as roots.
Report run_with(std::vector<DiagnosedFinding> roots, const std::string& name = "run.h5");

DiagnosedFinding found(const std::string& rule, Severity severity, const std::string& module, std::int64_t step = 0);

}  // namespace gradhealth::test
