// What is left of a run when the power fails. The disk is simulated from a log of the writer's calls: what was
// synchronised is there; of what was written since, every page is as it was at some moment since then, each at another.
#include <sys/wait.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <gradhealth/run_file.h>

#include "kill/child.h"
#include "kill/disk_log.h"
#include "kill/faulty_disk.h"
#include "kill/scenario.h"
#include "kill/written_runs.h"
#include "support/catch.h"
#include "support/temporary_directory.h"
#include "tools/shell.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kPage = 4096;

struct Operation {
  DiskLogEntry entry;
  std::string bytes;
};

/// Of the writer's first file.
std::vector<Operation> operations(const std::string& log) {
  std::vector<Operation> result;
  std::int64_t file = 0;
  for (std::size_t at = 0; at + sizeof(DiskLogEntry) <= log.size();) {
    Operation operation;
    std::memcpy(&operation.entry, log.data() + at, sizeof(DiskLogEntry));
    at += sizeof(DiskLogEntry);
    const bool has_bytes =
        operation.entry.kind == DiskLogEntry::kWrite || operation.entry.kind == DiskLogEntry::kAcknowledged;
    if (has_bytes) {
      operation.bytes = log.substr(at, static_cast<std::size_t>(operation.entry.size));
      at += operation.bytes.size();
    }
    if (file == 0 && operation.entry.kind == DiskLogEntry::kWrite) file = operation.entry.file;
    if (operation.entry.kind == DiskLogEntry::kAcknowledged || operation.entry.file == file)
      result.push_back(std::move(operation));
  }
  return result;
}

/// A file as far as it was written up to some operation.
class Image {
 public:
  void apply(const Operation& operation) {
    const DiskLogEntry& entry = operation.entry;
    if (entry.kind == DiskLogEntry::kTruncate) bytes_.resize(static_cast<std::size_t>(entry.offset), '\0');
    if (entry.kind != DiskLogEntry::kWrite) return;
    const auto end = static_cast<std::size_t>(entry.offset + entry.size);
    if (bytes_.size() < end) bytes_.resize(end, '\0');
    bytes_.replace(static_cast<std::size_t>(entry.offset), operation.bytes.size(), operation.bytes);
  }

  /// The part of the operation that lies in this page, without a change of the file's length.
  void apply(const Operation& operation, std::int64_t page) {
    const DiskLogEntry& entry = operation.entry;
    const std::int64_t first = std::max(entry.offset, page * kPage);
    const std::int64_t end = std::min({entry.offset + entry.size, (page + 1) * kPage, std::int64_t(bytes_.size())});
    if (first >= end) return;
    bytes_.replace(static_cast<std::size_t>(first), static_cast<std::size_t>(end - first), operation.bytes,
                   static_cast<std::size_t>(first - entry.offset), static_cast<std::size_t>(end - first));
  }

  std::size_t size() const { return bytes_.size(); }
  void resize(std::size_t size) { bytes_.resize(size, '\0'); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

struct Disk {
  Image synchronised;
  std::size_t next = 0;  ///< The first operation after it.
  std::int64_t acknowledged = -1;
};

/// What the disk may hold if the power fails before operation `end`.
Image after_power_failure(const Disk& disk, const std::vector<Operation>& all, std::size_t end, std::mt19937& random) {
  std::uniform_int_distribution<std::size_t> moment(disk.next, end);
  // The length first: it too is as of some moment.
  Image lengths = disk.synchronised;
  const std::size_t length_at = moment(random);
  for (std::size_t i = disk.next; i < length_at; ++i) lengths.apply(all[i]);
  Image image = disk.synchronised;
  image.resize(lengths.size());
  std::map<std::int64_t, std::vector<std::size_t>> pages;
  for (std::size_t i = disk.next; i < end; ++i) {
    const DiskLogEntry& entry = all[i].entry;
    if (entry.kind != DiskLogEntry::kWrite) continue;
    for (std::int64_t page = entry.offset / kPage; page * kPage < entry.offset + entry.size; ++page)
      pages[page].push_back(i);
  }
  for (const auto& [page, writes] : pages) {
    const std::size_t until = moment(random);
    for (const std::size_t i : writes)
      if (i < until) image.apply(all[i], page);
  }
  return image;
}

struct PowerFailures {
  int count = 0;
  int harmful = 0;
  std::string first_harm;
};

PowerFailures fail_power(int failures) {
  const TemporaryDirectory directory;
  const Said said =
      write_runs(directory.path(), "log", "power", {{kFaultyDiskLog, (directory / "disk-log").string()}});
  REQUIRE(said.acknowledged.at(1) == kFirstPartRows);
  const std::vector<Operation> all = operations(read(directory / "disk-log"));
  std::mt19937 random(11);
  std::vector<std::size_t> moments;
  for (int i = 0; i < failures; ++i)
    moments.push_back(std::uniform_int_distribution<std::size_t>(0, all.size())(random));
  std::sort(moments.begin(), moments.end());
  PowerFailures result;
  Disk disk;
  Image written;
  std::size_t at = 0;
  for (const std::size_t moment : moments) {
    for (; at < moment; ++at) {
      const Operation& operation = all[at];
      written.apply(operation);
      if (operation.entry.kind == DiskLogEntry::kSync) {
        disk.synchronised = written;
        disk.next = at + 1;
      }
      std::istringstream line(operation.entry.kind == DiskLogEntry::kAcknowledged ? operation.bytes : "");
      std::string what;
      int part = 0;
      if (line >> what >> part && what == "acknowledged" && part == 1) line >> disk.acknowledged;
    }
    if (disk.acknowledged < 0) continue;
    const fs::path file = directory / "after.h5";
    write(file, after_power_failure(disk, all, moment, random).bytes());
    const std::string harm = complaint(file, 1, disk.acknowledged);
    ++result.count;
    if (!harm.empty() && result.harmful++ == 0) result.first_harm = harm;
  }
  return result;
}

}  // namespace

TEST_CASE("a power failure spoils acknowledged rows only if it hits a commit, and then rarely", "[.][whole]") {
  const PowerFailures failures = fail_power(500);
  std::cout << failures.harmful << " of " << failures.count << " power failures within a commit lost acknowledged rows"
            << (failures.harmful > 0 ? "; the first: " + failures.first_harm : "") << "\n";
  CHECK(failures.count > 400);
  CHECK(failures.harmful * 50 <= failures.count);
}
