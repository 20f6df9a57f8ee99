#include "hostile/process.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string_view>

#include "tools/command_line.h"
#include "tools/confined.h"

namespace gradhealth::hostile {
namespace {

constexpr rlim_t kMemory = rlim_t{1} << 30;
constexpr unsigned kSecondsInAll = 120;
constexpr int kOwnCrash = 125;
constexpr const char* kOut = ".out";
constexpr const char* kErr = ".err";

void redirect(const char* file, int descriptor) {
  const int opened = ::open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ::dup2(opened, descriptor);
  ::close(opened);
}

void limit(int resource, rlim_t value) {
  const rlimit limits{value, value};
  ::setrlimit(static_cast<decltype(RLIMIT_CPU)>(resource), &limits);
}

/// Whether HDF5 is in the stack.
bool within_hdf5() {
  void* stack[64];
  const int depth = ::backtrace(stack, 64);
  for (int i = 0; i < depth; ++i) {
    Dl_info place{};
    if (::dladdr(stack[i], &place) == 0 || place.dli_fname == nullptr) continue;
    if (std::string_view(place.dli_fname).find("libhdf5") != std::string_view::npos) return true;
  }
  return false;
}

/// A crash of HDF5 ends in the death that it would end in anyway; one of ours is a defect.
void tell_whose(int signal) {
  std::signal(signal, SIG_DFL);
  if (!within_hdf5()) {
    constexpr std::string_view kText = "a crash or an endless loop outside of HDF5\n";
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kText.data(), kText.size());
    std::_Exit(kOwnCrash);
  }
  ::raise(signal);
}

int watched(int argc, char** argv) {
  static char stack[1 << 16];
  const stack_t alternative{stack, 0, sizeof stack};
  ::sigaltstack(&alternative, nullptr);
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGXCPU}) {
    struct sigaction action {};
    action.sa_handler = &tell_whose;
    action.sa_flags = SA_ONSTACK | SA_NODEFER;
    ::sigaction(signal, &action, nullptr);
  }
  const int exit_code = run_command_line(argc, argv);
  std::cout.flush();
  std::cerr.flush();
  return exit_code;
}

[[noreturn]] void run(std::vector<std::string> arguments, const std::filesystem::path& directory) {
  if (::chdir(directory.c_str()) != 0) std::_Exit(kOwnCrash);
  redirect(kOut, STDOUT_FILENO);
  redirect(kErr, STDERR_FILENO);
  limit(RLIMIT_CORE, 0);
#if !defined(__SANITIZE_ADDRESS__)
  limit(RLIMIT_AS, kMemory);
#endif
  ::alarm(kSecondsInAll);
  arguments.insert(arguments.begin(), "gradhealth");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  std::_Exit(run_confined([&] { return watched(static_cast<int>(argv.size()), argv.data()); }));
}

}  // namespace

Ran run_limited(const std::vector<std::string>& arguments, const std::filesystem::path& directory) {
  const pid_t process = ::fork();
  if (process == 0) run(arguments, directory);
  int status = 0;
  rusage used{};
  Ran ran;
  if (process < 0 || ::wait4(process, &status, 0, &used) != process) return ran;
  if (WIFEXITED(status)) ran.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) ran.signal = WTERMSIG(status);
  ran.megabytes = used.ru_maxrss / 1024;
  ran.seconds = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                1e-6 * static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
  ran.out = content_of(directory / kOut);
  ran.err = content_of(directory / kErr);
  ran.crashed = ran.err.find(": reading it ended in a crash") != std::string::npos;
  ran.hung = ran.err.find(": reading it took longer") != std::string::npos;
  return ran;
}

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace gradhealth::hostile
