#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <gradhealth/run.h>

/// The run that acknowledging_writer.cpp writes, for whoever reads what is left of it: rows and events in every commit,
/// many columns that appear in the middle, and a second file that goes on from a checkpoint.
namespace gradhealth::test {

inline constexpr std::int64_t kRowsBeforeColumns = 150;  ///< More than a chunk has.
inline constexpr std::int64_t kRowsWithColumns = 60;
inline constexpr std::int64_t kFirstPartRows = kRowsBeforeColumns + kRowsWithColumns;
inline constexpr std::int64_t kSecondPartRows = 40;
inline constexpr std::int64_t kSecondPartFirstStep = 200;  ///< Steps 200 to 209 were made again.

/// As it is known at that step. @param part 1 or 2
Run scenario_run(int part, std::int64_t step);
/// Row of the run as it is known at that step, with the event that its commit adds, if it is the last one of it.
StepRecord scenario_row(const Run& run, std::int64_t step, bool last_of_commit);
/// The event that a commit adds; it belongs to no row.
Event scenario_event(std::int64_t step);
/// How many rows a commit that begins with this one has.
std::int64_t rows_of_commit(std::int64_t row);

/// What is wrong with the file of a part, of which so many rows were acknowledged; empty if nothing is.
std::string complaint(const std::filesystem::path& file, int part, std::int64_t acknowledged);

}  // namespace gradhealth::test
