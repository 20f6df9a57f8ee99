#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include <hdf5.h>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>

#include "hostile/metadata.h"
#include "run_file/sample_run.h"
#include "support/catch.h"
#include "support/temporary_directory.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

/// What reading the whole file complains about; empty if it does not.
std::string complaint(const std::filesystem::path& path) {
  try {
    const RunReader reader(path);
    reader.for_each_step([](const StepRecord&) {});
    return {};
  } catch (const IoError& error) {
    return error.what();
  } catch (const FormatError& error) {
    return error.what();
  }
}

void check_one_line(const std::string& text, const std::filesystem::path& path) {
  CAPTURE(text);
  CHECK_FALSE(text.empty());
  CHECK(text.find('\n') == std::string::npos);
  CHECK(text.find(path.filename().string()) != std::string::npos);
}

std::filesystem::path write_sample(const TemporaryDirectory& directory) {
  const Run run = sample_run();
  RunWriter writer(directory / "run.h5", run);
  for (std::int64_t step = 0; step < 40; ++step) writer.append(run, sample_row(run, step));
  writer.close();
  return directory / "run.h5";
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Opens a run file to spoil it.
class Spoiled {
 public:
  explicit Spoiled(const std::filesystem::path& path) : file_(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT)) {}
  ~Spoiled() { H5Fclose(file_); }
  hid_t get() const { return file_; }

 private:
  hid_t file_;
};

}  // namespace

TEST_CASE("a file from before there were ranks, or histograms, has none", "[run_file]") {
  struct Addition {
    const char* group;
    Axis axis;
    int minor;
  };
  for (const Addition& addition : {Addition{"rank", Axis::kRank, 4}, Addition{"input_bin", Axis::kInputBin, 5}}) {
    CAPTURE(addition.group);
    TemporaryDirectory directory;
    const std::filesystem::path path = write_sample(directory);
    {
      const Spoiled file(path);
      H5Ldelete(file.get(), addition.group, H5P_DEFAULT);
    }
    CHECK(complaint(path).find("/" + std::string(addition.group) + "/committed_subjects") != std::string::npos);
    {
      const Spoiled file(path);
      const hid_t version = H5Aopen(file.get(), "schema_minor_version", H5P_DEFAULT);
      const int earlier = addition.minor - 1;
      H5Awrite(version, H5T_NATIVE_INT, &earlier);
      H5Aclose(version);
    }
    const RunReader reader(path);
    CHECK(reader.rows() > 0);
    CHECK(reader.run().of(addition.axis).empty());
    CHECK(reader.run().info.world_size == 1);
    std::int64_t visited = 0;
    reader.for_each_step([&](const StepRecord& row) {
      ++visited;
      CHECK(row.values(Quantity::kInputShare).empty());
    });
    CHECK(visited == reader.rows());
  }
}

TEST_CASE("what is no run file is refused in one line that names it", "[run_file]") {
  TemporaryDirectory directory;
  const auto check = [&](const std::string& name, const std::string& content, const std::string& word) {
    const std::filesystem::path path = directory / name;
    std::ofstream(path, std::ios::binary) << content;
    const std::string text = complaint(path);
    check_one_line(text, path);
    CHECK(text.find(word) != std::string::npos);
  };
  check("empty.h5", "", "is empty");
  check("text.h5", "step,loss\n0,1\n", "not a run file");
  check("zeros.h5", std::string(5000, '\0'), "not a run file");
  check_one_line(complaint(directory / "missing.h5"), "missing.h5");
  check_one_line(complaint(directory.path()), directory.path());

  const std::filesystem::path foreign = directory / "foreign.h5";
  H5Fclose(H5Fcreate(foreign.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
  check_one_line(complaint(foreign), foreign);
  CHECK(complaint(foreign).find("not a run file of gradhealth") != std::string::npos);
}

TEST_CASE("a truncated file is refused, wherever it ends", "[run_file]") {
  TemporaryDirectory directory;
  const std::string whole = bytes_of(write_sample(directory));
  for (int part = 0; part < 50; ++part) {
    const std::filesystem::path path = directory / "cut.h5";
    std::ofstream(path, std::ios::binary) << whole.substr(0, whole.size() * static_cast<std::size_t>(part) / 50);
    check_one_line(complaint(path), path);
  }
}

TEST_CASE("a truncated file of a trainer that died is refused too", "[run_file]") {
  TemporaryDirectory directory;
  const Run run = sample_run();
  RunWriter writer(directory / "run.h5", run);
  for (std::int64_t step = 0; step < 40; ++step) writer.append(run, sample_row(run, step));
  writer.flush();
  const std::string whole = bytes_of(directory / "run.h5");
  std::ofstream(directory / "left.h5", std::ios::binary) << whole;
  CHECK(complaint(directory / "left.h5").empty());
  for (int part = 0; part < 50; ++part) {
    const std::filesystem::path path = directory / "cut.h5";
    std::ofstream(path, std::ios::binary) << whole.substr(0, whole.size() * static_cast<std::size_t>(part) / 50);
    check_one_line(complaint(path), path);
  }
}

TEST_CASE("damaged bytes end in an error or in other numbers, never in a crash", "[run_file]") {
  TemporaryDirectory directory;
  const std::string whole = bytes_of(write_sample(directory));
  std::size_t refused = 0;
  for (std::size_t i = 0; i < 200; ++i) {
    std::string bytes = whole;
    // Spread over the file, the first kilobytes (metadata) more densely.
    const std::size_t at = i < 100 ? i * 37 : whole.size() * (i - 100) / 100;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (i % 8)));
    std::ofstream(directory / "damaged.h5", std::ios::binary) << bytes;
    refused += !complaint(directory / "damaged.h5").empty();
  }
  CHECK(refused > 0);
}

TEST_CASE("an index that claims 2^62 chunks makes nobody look for them", "[run_file]") {
  TemporaryDirectory directory;
  std::string bytes = bytes_of(write_sample(directory));
  // Of an extensible array's header (HDF5 File Format Specification 3.0, VII.D): where the largest index stands.
  constexpr std::size_t kMaxIndexSet = 44;
  std::size_t spoiled = 0;
  for (const hostile::MetadataBlock& block : hostile::metadata_blocks(bytes)) {
    if (bytes.compare(block.begin, 4, "EAHD") != 0) continue;
    bytes[block.begin + kMaxIndexSet + 7] = 0x40;
    hostile::seal(bytes, block);
    ++spoiled;
  }
  REQUIRE(spoiled > 10);
  std::ofstream(directory / "damaged.h5", std::ios::binary) << bytes;
  ::alarm(60);  // Ends a test that would never end.
  CHECK(complaint(directory / "damaged.h5").find('\n') == std::string::npos);
  ::alarm(0);
}

TEST_CASE("rows, subjects and events that a file of this size cannot hold are refused", "[run_file]") {
  TemporaryDirectory directory;
  const std::filesystem::path path = write_sample(directory);
  const auto complains = [&](const char* counter, std::int64_t count, const std::vector<const char*>& counted) {
    const std::filesystem::path copy = directory / "spoiled.h5";
    std::filesystem::copy_file(path, copy, std::filesystem::copy_options::overwrite_existing);
    {
      const Spoiled file(copy);
      const auto size = static_cast<hsize_t>(count);
      const hid_t number = H5Dopen2(file.get(), counter, H5P_DEFAULT);
      H5Dwrite(number, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &count);
      H5Dclose(number);
      for (const char* object : counted) {
        const hid_t dataset = H5Dopen2(file.get(), object, H5P_DEFAULT);
        H5Dset_extent(dataset, &size);
        H5Dclose(dataset);
      }
    }
    const std::string text = complaint(copy);
    check_one_line(text, copy);
    CHECK(text.find(counter) != std::string::npos);
    CHECK(text.find("a file of this size holds") != std::string::npos);
    const Recovery recovery = recover(copy, directory / "fixed.h5");
    CHECK_FALSE(recovery.lost.empty());
    CHECK(recovery.rows == 40);
    std::filesystem::remove(directory / "fixed.h5");
  };
  complains("committed_events", 900'000, {"event/step", "event/kind", "event/subject", "event/text"});
  complains("parameter/committed_subjects", 900'000,
            {"parameter/name", "parameter/module", "parameter/kind", "parameter/shape", "parameter/dtype",
             "parameter/size"});
}

TEST_CASE("a newer major version is refused and an unknown dataset is not looked at", "[run_file]") {
  TemporaryDirectory directory;
  const std::filesystem::path path = write_sample(directory);
  {
    const Spoiled file(path);
    const hid_t group = H5Gcreate2(file.get(), "of_the_future", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Gclose(group);
  }
  CHECK(complaint(path).empty());
  {
    const Spoiled file(path);
    const hid_t attribute = H5Aopen(file.get(), "schema_version", H5P_DEFAULT);
    const int version = 2;
    H5Awrite(attribute, H5T_NATIVE_INT, &version);
    H5Aclose(attribute);
  }
  CHECK(complaint(path).find("format version 2") != std::string::npos);
}

TEST_CASE("a dataset of another type, a link and a missing one are told apart", "[run_file]") {
  TemporaryDirectory directory;
  const std::filesystem::path path = write_sample(directory);
  const auto replaced = [&](const char* object, auto&& create) {
    const std::filesystem::path copy = directory / "spoiled.h5";
    std::filesystem::copy_file(path, copy, std::filesystem::copy_options::overwrite_existing);
    {
      const Spoiled file(copy);
      H5Ldelete(file.get(), object, H5P_DEFAULT);
      create(file.get());
    }
    const std::string text = complaint(copy);
    check_one_line(text, copy);
    CHECK(text.find(object) != std::string::npos);
    return text;
  };
  const std::string wrong_type = replaced("loss", [](hid_t file) {
    const hid_t space = H5Screate(H5S_SCALAR);
    H5Dclose(H5Dcreate2(file, "loss", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
  });
  CHECK(wrong_type.find("number type") != std::string::npos);
  CHECK(replaced("step", [](hid_t file) {
          H5Lcreate_soft("/wall_time", file, "step", H5P_DEFAULT, H5P_DEFAULT);
        }).find("is a link") != std::string::npos);
  CHECK(replaced("committed_rows", [](hid_t) {}).find("is missing") != std::string::npos);
}

TEST_CASE("a run is a file or a directory of files", "[run_file]") {
  TemporaryDirectory directory;
  CHECK_THROWS_AS(run_files(directory.path()), IoError);
  CHECK_THROWS_AS(run_files(directory / "missing"), IoError);
  const std::filesystem::path path = write_sample(directory);
  std::filesystem::copy_file(path, directory / "D.h5");
  CHECK(run_files(path) == std::vector<std::filesystem::path>{path});
  CHECK(run_files(directory.path()) == std::vector<std::filesystem::path>{directory / "D.h5", path});
}
