// The part of FileWriter that lays a new file out: attributes, datasets, dimension scales.
#include <algorithm>
#include <limits>

#include <fmt/format.h>
#include <hdf5_hl.h>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>
#include <gradhealth/version.h>

#include "run_file/file_writer.h"

namespace gradhealth::run_file {
namespace {

constexpr hsize_t kChunkBytes = hsize_t{256} * 1024;
constexpr hsize_t kTableChunk = 64;
constexpr hsize_t kStepChunk = 512;

/// Columns that a chunk spans: all of them where their number is known, so that a row is one write.
hsize_t chunk_columns(Axis axis, const Run& run) {
  const auto known = [&](Axis of) { return std::clamp<hsize_t>(run.of(of).size(), 8, 1024); };
  switch (axis) {
    case Axis::kParameter: return known(Axis::kParameter);
    case Axis::kActivation:  // Not known before the first forward pass; of the parameters' order.
      return run.of(Axis::kActivation).empty() ? known(Axis::kParameter) : known(Axis::kActivation);
    case Axis::kFeature: return run.of(Axis::kFeature).empty() ? 32 : known(Axis::kFeature);
    case Axis::kInputBin: return kInputBins;
    default: return 8;
  }
}

std::vector<hsize_t> chunk_of(const QuantityInfo& quantity, const Run& run) {
  if (quantity.axis == Axis::kRun) return {kStepChunk};
  const hsize_t columns = chunk_columns(quantity.axis, run);
  const hsize_t bytes = quantity.precision == Precision::kFloat32 ? 4 : 8;
  return {std::clamp<hsize_t>(kChunkBytes / (bytes * columns), 16, 128), columns};
}

/// Nothing is added later: chunks are as long as the run, up to what is read at once.
std::vector<hsize_t> archive_chunk_of(const QuantityInfo& quantity, const Run& run, std::int64_t rows) {
  const auto length = [&](hsize_t most) { return std::clamp<hsize_t>(static_cast<hsize_t>(rows), 1, most); };
  if (quantity.axis == Axis::kRun) return {length(8 * kStepChunk)};
  const hsize_t columns = std::clamp<hsize_t>(run.of(quantity.axis).size(), 1, 1024);
  const hsize_t bytes = quantity.precision == Precision::kFloat32 ? 4 : 8;
  // A multiple of the rows that are written at once where several chunks lie side by side.
  return {length(std::clamp<hsize_t>(kChunkBytes / (bytes * columns), 16, 8 * kStepChunk)), columns};
}

}  // namespace

void FileWriter::write_text_attribute(hid_t object, const char* attribute, const std::string& value) {
  const std::string text = fit(value, kAttributeWidth);
  const Handle type = text_type(std::max<std::size_t>(text.size(), 1));
  Handle space(H5Screate(H5S_SCALAR), &H5Sclose);
  Handle handle(H5Acreate2(object, attribute, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), &H5Aclose);
  if (!handle || H5Awrite(handle.get(), type.get(), text.c_str()) < 0) fail(attribute, "writing the attribute");
}

void FileWriter::write_info(const RunInfo& info) {
  const auto put_number = [&](const char* attribute, hid_t type, hid_t native, const void* value) {
    Handle space(H5Screate(H5S_SCALAR), &H5Sclose);
    Handle handle(H5Acreate2(file_.get(), attribute, type, space.get(), H5P_DEFAULT, H5P_DEFAULT), &H5Aclose);
    if (!handle || H5Awrite(handle.get(), native, value) < 0) fail(attribute, "writing the attribute");
  };
  unsigned major = 0, minor = 0, patch = 0;
  H5get_libversion(&major, &minor, &patch);
  write_text_attribute(file_.get(), "schema", kSchema);
  put_number("schema_version", H5T_STD_I32LE, H5T_NATIVE_INT, &kMajorVersion);
  put_number("schema_minor_version", H5T_STD_I32LE, H5T_NATIVE_INT, &kMinorVersion);
  write_text_attribute(file_.get(), "writer_version", archive_ ? archive_->writer_version : GRADHEALTH_VERSION);
  write_text_attribute(file_.get(), "name", info.name);
  write_text_attribute(file_.get(), "created_utc", info.created_utc);
  write_text_attribute(file_.get(), "command_line", info.command_line);
  write_text_attribute(file_.get(), "libraries",
                       archive_ ? info.libraries
                                : fmt::format("{}{}HDF5 {}.{}.{}", info.libraries, info.libraries.empty() ? "" : ", ",
                                              major, minor, patch));
  write_text_attribute(file_.get(), "optimizer", info.optimizer);
  if (info.momentum) put_number("momentum", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &*info.momentum);
  if (info.beta2) put_number("beta2", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &*info.beta2);
  if (info.epsilon) put_number("epsilon", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &*info.epsilon);
  if (!info.loss_kind.empty()) write_text_attribute(file_.get(), "loss_kind", info.loss_kind);
  if (info.weight_decay) put_number("weight_decay", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &*info.weight_decay);
  if (info.first_step > 0) put_number("first_step", H5T_STD_I64LE, H5T_NATIVE_INT64, &info.first_step);
  if (archive_ && !archive_->lost.empty()) write_text_attribute(file_.get(), "lost", archive_->lost);
  if (info.world_size > 1) {
    put_number("rank", H5T_STD_I64LE, H5T_NATIVE_INT64, &info.rank);
    put_number("world_size", H5T_STD_I64LE, H5T_NATIVE_INT64, &info.world_size);
  }
  if (!info.continues.empty()) write_text_attribute(file_.get(), "continues", info.continues);
}

void FileWriter::create_datasets(const Run& run) {
  state_ = create_scalar(kState, H5T_STD_I32LE, static_cast<std::int64_t>(RunState::kUnfinished));
  committed_rows_ = create_scalar(kCommittedRows, H5T_STD_I64LE, 0);
  const double missing = std::numeric_limits<double>::quiet_NaN();
  const float missing_float = std::numeric_limits<float>::quiet_NaN();
  step_ = create(kStep, H5T_STD_I64LE, {kStepChunk}, nullptr);
  wall_time_ = create(kWallTime, H5T_IEEE_F64LE, {kStepChunk}, &missing);
  write_text_attribute(wall_time_.get(), "units", "s");
  write_text_attribute(wall_time_.get(), "long_name", "Seconds since the run was created.");
  write_text_attribute(step_.get(), "units", "1");
  write_text_attribute(step_.get(), "long_name", "Optimizer updates before this one.");
  H5DSset_scale(step_.get(), "step");
  H5DSattach_scale(wall_time_.get(), step_.get(), 0);

  const auto create_text = [&](const std::string& object, std::size_t width) {
    return create(object, text_type(width).get(), {kTableChunk}, nullptr);
  };
  for (const Axis axis : kSubjectAxes) {
    const std::string group(name(axis));
    open_group(group);
    Table& table = subjects_[static_cast<std::size_t>(axis)];
    for (const TextColumn& column : kSubjectColumns)
      table.text.push_back(create_text(group + "/" + column.name, column.width));
    table.number = create(group + "/" + kSubjectSize, H5T_STD_I64LE, {kTableChunk}, nullptr);
    table.committed = create_scalar(group + "/" + kCommittedSubjects, H5T_STD_I64LE, 0);
    H5DSset_scale(table.text.front().get(), group.c_str());
    for (std::size_t column = 1; column < table.text.size(); ++column)
      H5DSattach_scale(table.text[column].get(), table.text.front().get(), 0);
    H5DSattach_scale(table.number.get(), table.text.front().get(), 0);
  }
  open_group(kEventGroup);
  for (const TextColumn& column : kEventColumns)
    events_.text.push_back(create_text(std::string(kEventGroup) + "/" + column.name, column.width));
  events_.number = create(std::string(kEventGroup) + "/" + kStep, H5T_STD_I64LE, {kTableChunk}, nullptr);
  events_.committed = create_scalar(kCommittedEvents, H5T_STD_I64LE, 0);

  for (const QuantityInfo& quantity : quantities()) {
    Handle& dataset = quantities_[static_cast<std::size_t>(quantity.id)].dataset;
    const bool single = quantity.precision == Precision::kFloat32;
    dataset = create(path_of(quantity), single ? H5T_IEEE_F32LE : H5T_IEEE_F64LE,
                     archive_ ? archive_chunk_of(quantity, run, archive_->rows) : chunk_of(quantity, run),
                     single ? static_cast<const void*>(&missing_float) : &missing);
    write_text_attribute(dataset.get(), "units", std::string(quantity.unit));
    write_text_attribute(dataset.get(), "long_name", std::string(quantity.description));
    H5DSattach_scale(dataset.get(), step_.get(), 0);
    if (quantity.axis == Axis::kRun) continue;
    H5DSattach_scale(dataset.get(), subjects_[static_cast<std::size_t>(quantity.axis)].text.front().get(), 1);
  }
}

}  // namespace gradhealth::run_file
