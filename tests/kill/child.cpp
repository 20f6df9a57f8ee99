#include "kill/child.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <sstream>
#include <stdexcept>

extern char** environ;

namespace gradhealth::test {
namespace {

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

Child::Child(const std::vector<std::string>& command, const Environment& environment) {
  int ends[2] = {};
  if (::pipe(ends) != 0) throw std::runtime_error(std::strerror(errno));
  std::vector<std::string> arguments = command;
  std::vector<std::string> variables;
  for (char** each = environ; *each != nullptr; ++each)
    if (const std::string variable = *each; environment.count(variable.substr(0, variable.find('='))) == 0)
      variables.push_back(variable);
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addclose(&actions, ends[0]);
  ::posix_spawn_file_actions_addclose(&actions, ends[1]);
  const int error = ::posix_spawn(&process_, arguments[0].c_str(), &actions, nullptr, pointers(arguments).data(),
                                  pointers(variables).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  output_ = ::fdopen(ends[0], "r");
  if (error != 0) throw std::runtime_error(arguments[0] + ": " + std::strerror(error));
}

Child::~Child() {
  if (process_ > 0) {
    kill();
    ::waitpid(process_, nullptr, 0);
  }
  if (output_ != nullptr) std::fclose(output_);
}

bool Child::read_line(std::string& line) {
  line.clear();
  for (int c = std::fgetc(output_); c != EOF; c = std::fgetc(output_)) {
    if (c == '\n') return true;
    line += static_cast<char>(c);
  }
  return false;
}

void Child::kill() { ::kill(process_, SIGKILL); }

int Child::wait() {
  int status = 0;
  ::waitpid(process_, &status, 0);
  process_ = 0;
  return status;
}

void hear(const std::string& line, Said& said) {
  std::istringstream words(line);
  std::string what, name;
  int part = 0;
  words >> what;
  if (what == "acknowledged") {
    words >> part;
    words >> said.acknowledged[part];
  } else if (what == "phase") {
    words >> name;
    words >> said.phases[name];
  } else if (what == "failed") {
    words >> part >> std::ws;
    std::getline(words, said.failed[part]);
  } else if (what == "microseconds") {
    words >> said.microseconds;
  } else if (what == "weights") {
    words >> said.weights;
  } else if (what == "state") {
    words >> said.state;
  } else {
    throw std::runtime_error("cannot make sense of: " + line);
  }
}

Said listen(const std::vector<std::string>& command, const Environment& environment) {
  Child child(command, environment);
  Said said;
  std::string line;
  while (child.read_line(line)) hear(line, said);
  said.status = child.wait();
  return said;
}

}  // namespace gradhealth::test
