#include "tools/shell.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include <stdlib.h>
#include <sys/wait.h>

namespace fs = std::filesystem;

Folder::Folder() {
  std::string pattern = (fs::temp_directory_path() / "gradhealth-tools-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot create a temporary folder");
  path_ = pattern;
}

Folder::~Folder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

Ran Folder::gradhealth(const std::string& arguments) const { return shell("\"$gradhealth\" " + arguments); }

Ran Folder::shell(const std::string& command) const {
  const fs::path out = path_ / ".out", err = path_ / ".err";
  // A subshell, so that redirections inside the command come before ours.
  const std::string line = "cd '" + path_.string() + "' && export gradhealth='" GRADHEALTH_EXECUTABLE "' && ( " +
                           command + " ) > '" + out.string() + "' 2> '" + err.string() + "'";
  const int status = std::system(line.c_str());
  Ran ran;
  ran.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  ran.out = read(out);
  ran.err = read(err);
  fs::remove(out);
  fs::remove(err);
  return ran;
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void write(const fs::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
}

bool refused(const Ran& ran, int exit_code) {
  return ran.exit_code == exit_code && ran.out.empty() && ran.err.rfind("gradhealth: ", 0) == 0 &&
         std::count(ran.err.begin(), ran.err.end(), '\n') == 1 && ran.err.back() == '\n';
}
