#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <gradhealth/run.h>

/// Names, types and shapes of everything in a run file. FORMAT.md says the same in words.
namespace gradhealth::run_file {

inline constexpr std::string_view kSchema = "gradhealth-run";
inline constexpr std::int32_t kSchemaVersion = 1;  ///< Readers refuse a newer one.
inline constexpr std::int32_t kSchemaMinor = 0;    ///< Grows when datasets are added.

inline constexpr const char* kStatePath = "/state";
inline constexpr const char* kCommittedRowsPath = "/committed_rows";
inline constexpr const char* kStepPath = "/step";
inline constexpr const char* kWallTimePath = "/wall_time";
inline constexpr const char* kEventGroup = "/event";
inline constexpr const char* kEventStepPath = "/event/step";
inline constexpr const char* kCommittedEventsPath = "/event/committed_events";

/// The axes that have subjects, each a group of the file.
inline constexpr std::array<Axis, kAxisCount - 1> kGroupAxes{Axis::kNamed, Axis::kParameter, Axis::kActivation,
                                                             Axis::kFeature};

/// What a writer stays below and a reader insists on.
inline constexpr std::int64_t kMaxSubjects = 1'000'000;
inline constexpr std::int64_t kMaxEvents = 100'000;

/// The numbers in /state.
enum class FileState : std::int32_t { kRunning = 0, kFinished = 1, kFailed = 2, kRecovered = 3 };

enum class TextRole : std::uint8_t { kProse, kIdentity };

/// A column of fixed-length UTF-8 strings.
template <class Record>
struct TextColumn {
  const char* name;
  std::size_t width;  ///< Bytes.
  std::string Record::*field;
  TextRole role;
};

inline constexpr std::array<TextColumn<Subject>, 5> kSubjectColumns{{
    {"name", 200, &Subject::name, TextRole::kIdentity},
    {"module", 200, &Subject::module, TextRole::kIdentity},
    {"kind", 64, &Subject::kind, TextRole::kProse},
    {"shape", 64, &Subject::shape, TextRole::kProse},
    {"dtype", 32, &Subject::dtype, TextRole::kProse},
}};

inline constexpr std::array<TextColumn<Event>, 3> kEventColumns{{
    {"kind", 48, &Event::kind, TextRole::kProse},
    {"subject", 200, &Event::subject, TextRole::kIdentity},
    {"text", 480, &Event::text, TextRole::kProse},
}};

/// A root attribute that holds one of RunInfo's texts.
struct InfoAttribute {
  const char* name;
  std::size_t width;  ///< Longest text, in bytes.
  std::string RunInfo::*field;
};

inline constexpr std::array<InfoAttribute, 5> kInfoTexts{{
    {"name", 200, &RunInfo::name},
    {"created_utc", 64, &RunInfo::created_utc},
    {"command_line", 4096, &RunInfo::command_line},
    {"libraries", 1024, &RunInfo::libraries},
    {"optimizer", 200, &RunInfo::optimizer},
}};

struct InfoNumber {
  const char* name;
  std::optional<double> RunInfo::*field;
};

inline constexpr std::array<InfoNumber, 2> kInfoNumbers{{
    {"momentum", &RunInfo::momentum},
    {"weight_decay", &RunInfo::weight_decay},
}};

/// Chunks: small enough that a short run of a small model stays small, since a chunk is allocated
/// whole; their shape is fixed before the number of subjects is known.
inline constexpr std::size_t kMatrixChunkRows = 128;
inline constexpr std::size_t kMatrixChunkColumns = 8;
inline constexpr std::size_t kColumnChunkRows = 512;
inline constexpr std::size_t kTableChunkRows = 16;

std::string group_path(Axis axis);                         ///< "/parameter"; of the run axis "".
std::string path_in(Axis axis, std::string_view column);   ///< "/parameter/name"
std::string committed_path(Axis axis);                     ///< "/parameter/committed_subjects"
std::string path_of(const QuantityInfo& quantity);         ///< "/parameter/gradient_norm", "/loss"
std::string event_path(std::string_view column);           ///< "/event/text"

}  // namespace gradhealth::run_file
