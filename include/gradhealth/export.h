#pragma once

#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include <gradhealth/run.h>

/// A run's numbers for other programs: CSV, TensorBoard.
namespace gradhealth {

/// One model's run. `steps` calls its argument for every step in order, and does so as often as it is called.
struct ExportedRun {
  std::string model;
  const Run* run = nullptr;
  std::function<void(const std::function<void(const StepRecord&)>&)> steps;
};

/// All text is on one line (see printable()), and a cell that a spreadsheet would take for a formula (= + - @ first)
/// begins with an apostrophe. Lines end with CR LF, cells are quoted where RFC 4180 asks for it. What was not recorded
/// is missing or empty; recorded values that are not finite are nan, inf and -inf. Numbers are the shortest that read
/// back exactly, in the precision of the file.

/// step, model, quantity, subject, value: a line for each recorded value. Quantities are named as in the file
/// (lib/run_file/FORMAT.md), "parameter/gradient_norm".
void write_csv_long(std::ostream& out, const std::vector<ExportedRun>& runs);
/// step, model, and a column for each quantity and subject of which anything was recorded,
/// "parameter/gradient_norm/conv1.weight": a line for each step. Goes through the runs twice.
void write_csv_wide(std::ostream& out, const std::vector<ExportedRun>& runs);
/// step, model, kind, subject, text: a line for each event of a recorded step.
void write_csv_events(std::ostream& out, const std::vector<ExportedRun>& runs);

/// A TensorBoard event file: a scalar for each recorded value, "loss" or "parameter_gradient_norm/conv1.weight". Values
/// are single precision. Times follow from when the run was created.
void write_tensorboard(std::ostream& out, const ExportedRun& run);
/// A name that TensorBoard recognises, always the same for a run.
std::string tensorboard_file_name(const Run& run);

}  // namespace gradhealth
