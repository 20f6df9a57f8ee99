#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <gradhealth/run.h>

/// Names and sizes of everything in a run file. FORMAT.md says the same in prose.
namespace gradhealth::run_file {

inline constexpr const char* kSchema = "gradhealth-run";
inline constexpr int kMajorVersion = 1;
inline constexpr int kMinorVersion = 5;

inline constexpr const char* kState = "state";
inline constexpr const char* kCommittedRows = "committed_rows";
inline constexpr const char* kCommittedEvents = "committed_events";
inline constexpr const char* kStep = "step";
inline constexpr const char* kWallTime = "wall_time";
inline constexpr const char* kEventGroup = "event";
/// Kind of the event after which a run that is closed has failed. Short enough to need no memory.
inline constexpr const char* kRecordingStopped = "failed";
inline constexpr const char* kCommittedSubjects = "committed_subjects";  ///< In the group of each axis.

/// A column of fixed-length text.
struct TextColumn {
  const char* name;
  std::size_t width;  ///< Bytes, UTF-8, padded with zeros.
};

/// Of each subject, in this order: Subject's members.
inline constexpr std::array<TextColumn, 5> kSubjectColumns{
    {{"name", 256}, {"module", 256}, {"kind", 32}, {"shape", 64}, {"dtype", 16}}};
inline constexpr const char* kSubjectSize = "size";

/// Of each event; beside the column "step".
inline constexpr std::array<TextColumn, 3> kEventColumns{{{"kind", 32}, {"subject", 256}, {"text", 512}}};

inline constexpr std::size_t kAttributeWidth = 1024;

/// A file that is being written is laid out, and grows, in pages of so many bytes.
inline constexpr std::size_t kPageBytes = 4096;

/// The axes that have subjects; kRun's quantities stand in the root.
inline constexpr std::array<Axis, 6> kSubjectAxes{Axis::kNamed,   Axis::kParameter, Axis::kActivation,
                                                  Axis::kFeature, Axis::kRank,      Axis::kInputBin};

/// "loss", "parameter/gradient_norm".
std::string path_of(const QuantityInfo& quantity);

/// The text cut to `width` bytes between two characters; where something is cut off, "…" takes its place.
std::string fit(std::string_view text, std::size_t width);

}  // namespace gradhealth::run_file
