#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

namespace gradhealth::test {

using Environment = std::map<std::string, std::string>;

/// A program with its standard output on a pipe; it is killed if it still runs at the end.
class Child {
 public:
  /// @param environment added to this process's own.
  Child(const std::vector<std::string>& command, const Environment& environment = {});
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// The next line without its end; false at the end of the output.
  bool read_line(std::string& line);
  void kill();
  /// How it ended, as of waitpid(). @pre its output has been read to the end, or it was killed.
  int wait();

 private:
  pid_t process_ = 0;
  std::FILE* output_ = nullptr;
};

/// What a process said until it ended.
struct Said {
  std::map<int, std::int64_t> acknowledged;  ///< Rows, by part.
  std::map<std::string, long> phases;        ///< Write calls before each.
  std::map<int, std::string> failed;         ///< The reason, by part.
  long microseconds = 0;
  std::string weights;  ///< Of torch_trainer.
  int state = -1;       ///< Of its monitor.
  int status = 0;  ///< As of waitpid().
};

/// Runs acknowledging_writer, or anything else that says the like, to its end.
Said listen(const std::vector<std::string>& command, const Environment& environment = {});

/// The part of listen() that takes one line in.
void hear(const std::string& line, Said& said);

}  // namespace gradhealth::test
