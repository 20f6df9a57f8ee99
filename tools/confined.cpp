#include "confined.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <ext/stdio_filebuf.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <string_view>
#include <system_error>

#include <gradhealth/report.h>

#include "commands.h"

#if defined(__has_feature)
#define GRADHEALTH_HAS_FEATURE(feature) __has_feature(feature)
#else
#define GRADHEALTH_HAS_FEATURE(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || GRADHEALTH_HAS_FEATURE(address_sanitizer) || defined(__SANITIZE_THREAD__) || \
    GRADHEALTH_HAS_FEATURE(thread_sanitizer)
#define GRADHEALTH_SANITIZED 1
#include <sanitizer/common_interface_defs.h>
#else
#define GRADHEALTH_SANITIZED 0
#endif

namespace gradhealth {

namespace {

constexpr rlim_t kMemory = rlim_t{4} << 30;
constexpr rlim_t kSeconds = 10;
constexpr std::uintmax_t kBytesPerSecond = std::uintmax_t{4} << 20;
constexpr std::size_t kLongestName = 4096;

constexpr bool kLimitsMemory = GRADHEALTH_SANITIZED == 0;  // Sanitizers reserve terabytes of address space.

/// Where std::cerr writes to.
int messages = STDERR_FILENO;

/// Shared with the child: what it reads. nullptr outside of it.
char* reading = nullptr;

volatile std::sig_atomic_t child = 0;

/// Signals that are meant for the command, whichever of the two processes they reach.
constexpr int kForwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

void forward(int signal) {
  const int error = errno;
  if (child > 0) ::kill(child, signal);
  errno = error;
}

/// A file that is named on stderr, or nothing.
std::string blamed() {
  const std::string_view name(reading, ::strnlen(reading, kLongestName));
  return name.empty() ? std::string() : printable(name) + ": ";
}

std::string cause(int signal) {
  if (signal == SIGXCPU)
    return "reading it took longer than a file of its size may take; it is damaged, or GRADHEALTH_LIMITS=off in the "
           "environment lifts the limit";
  if (signal == SIGKILL) return "was killed while reading it (out of memory?)";
  return std::string("reading it ended in a crash (") + ::strsignal(signal) +
         "); the file is damaged, please report it together with the file";
}

/// What a library says on stderr before it ends the process, such as an assertion of HDF5's, does not reach the user:
/// the line about the crash says what there is to know. std::cerr goes on, on a descriptor of its own, and so do the
/// sanitizers.
void silence_libraries() {
  const int own = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  const int nothing = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (own < 0 || nothing < 0) return;
  static __gnu_cxx::stdio_filebuf<char> buffer(own, std::ios::out);
  if (!buffer.is_open() || ::dup2(nothing, STDERR_FILENO) < 0) return;
  std::cerr.rdbuf(&buffer);
  messages = own;
#if GRADHEALTH_SANITIZED
  __sanitizer_set_report_fd(reinterpret_cast<void*>(static_cast<std::intptr_t>(own)));
#endif
}

/// Waits for the child and does as it did.
int outcome_of(pid_t process) {
  int status = 0;
  while (::waitpid(process, &status, 0) < 0)
    if (errno != EINTR) return kExitDefect;
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  const int signal = WTERMSIG(status);
  if (std::find(std::begin(kForwarded), std::end(kForwarded), signal) != std::end(kForwarded)) {
    // Whoever started this sees what ended it, and a shell goes no further.
    std::signal(signal, SIG_DFL);
    ::raise(signal);
  }
  std::cerr << "gradhealth: " << blamed() << cause(signal) << std::endl;
  return kExitCannotJudge;
}

}  // namespace

void now_reading(const std::filesystem::path& file) {
  if (reading == nullptr) return;
  std::strncpy(reading, file.c_str(), kLongestName - 1);
  rusage used{};
  rlimit limit{};
  if (::getrusage(RUSAGE_SELF, &used) != 0 || ::getrlimit(RLIMIT_CPU, &limit) != 0) return;
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(file, error);
  const rlim_t for_size = error ? 0 : static_cast<rlim_t>(bytes / kBytesPerSecond);
  const auto until_now = static_cast<rlim_t>(used.ru_utime.tv_sec + used.ru_stime.tv_sec);
  limit.rlim_cur = std::min(limit.rlim_max, until_now + kSeconds + for_size);
  ::setrlimit(RLIMIT_CPU, &limit);
}

std::string out_of_memory() {
  const std::string name = reading == nullptr ? std::string() : blamed();
  return name +
         "takes more memory than there is, or than the 4 GiB that reading may use; it is damaged, or "
         "GRADHEALTH_LIMITS=off in the environment lifts the limit";
}

bool messages_on_terminal() { return ::isatty(messages) == 1; }

int run_confined(const std::function<int()>& work) {
  const char* limits = std::getenv("GRADHEALTH_LIMITS");
  if (limits != nullptr && std::string_view(limits) == "off") return work();
  void* shared = ::mmap(nullptr, kLongestName, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) {
    std::cerr << "gradhealth: cannot share memory with a child process: " << std::strerror(errno) << '\n';
    return kExitDefect;
  }
  reading = static_cast<char*>(shared);
  const pid_t parent = ::getpid();
  // Forwarded from the first moment on: a signal in between would leave the child alone.
  sigset_t all, before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, &before);
  const pid_t process = ::fork();
  if (process < 0) {
    std::cerr << "gradhealth: cannot start a child process: " << std::strerror(errno) << '\n';
    return kExitDefect;
  }
  if (process == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) std::_Exit(kExitCannotJudge);
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    rlimit memory{};
    if (kLimitsMemory && ::getrlimit(RLIMIT_AS, &memory) == 0) {
      memory.rlim_cur = std::min(memory.rlim_max, std::min(memory.rlim_cur, kMemory));
      ::setrlimit(RLIMIT_AS, &memory);
    }
    silence_libraries();
    std::_Exit(work());
  }
  child = process;
  for (const int signal : kForwarded) {
    struct sigaction action {};
    ::sigaction(signal, nullptr, &action);
    if (action.sa_handler == SIG_IGN) continue;  // As under nohup.
    action.sa_handler = &forward;
    ::sigaction(signal, &action, nullptr);
  }
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  return outcome_of(process);
}

}  // namespace gradhealth
