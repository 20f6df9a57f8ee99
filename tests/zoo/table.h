#pragma once

#include <string>
#include <vector>

#include "zoo/examination.h"

namespace gradhealth::zoo {

/// Shares over all rows, as the project's figures ask for them.
struct Totals {
  int faults = 0;  ///< That did harm.
  int harmless = 0;
  int detected = 0;
  int root_first = 0;
  int module_right = 0;
  int fix_right = 0;
  int trains = 0;
  int placebo_trains = 0;
  int healthy = 0;
  int with_error = 0;
  int with_warning = 0;  ///< A warning or an error.
  int told_live = 0;     ///< Either, while they trained.
  int failures = 0;
};

Totals totals(const std::vector<Row>& rows);

/// One line for the terminal as a case ends.
std::string line(const Row& row);
/// The totals in words, with 95 % confidence bounds.
std::string summary(const Totals& totals);
/// Everything as Markdown, sorted by name; faults first.
std::string markdown(std::vector<Row> rows, const std::string& seeds, const std::string& healthy_seeds);

}  // namespace gradhealth::zoo
