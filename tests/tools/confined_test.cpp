#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <string>

#include "support/catch.h"
#include "support/temporary_directory.h"
#include "tools/confined.h"

using gradhealth::now_reading;
using gradhealth::run_confined;

namespace {

struct Ended {
  int status = 0;
  std::string err;
};

/// Runs it in a process of its own, whose signals and limits it may change. `meanwhile` is given that process.
Ended confined(const std::function<int()>& work, const std::function<void(pid_t)>& meanwhile = {}) {
  const gradhealth::test::TemporaryDirectory directory;
  const std::string path = directory / "err";
  const pid_t process = ::fork();
  if (process == 0) {
    if (std::freopen(path.c_str(), "w", stderr) == nullptr) std::_Exit(99);
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    for (const int signal : {SIGSEGV, SIGABRT, SIGTERM}) std::signal(signal, SIG_DFL);
    std::_Exit(run_confined(work));
  }
  if (meanwhile) meanwhile(process);
  Ended ended;
  ::waitpid(process, &ended.status, 0);
  std::ifstream err(path);
  ended.err.assign(std::istreambuf_iterator<char>(err), {});
  return ended;
}

void check_refusal(const Ended& ended, const std::string& word) {
  CAPTURE(ended.err);
  CHECK(WIFEXITED(ended.status));
  CHECK(WEXITSTATUS(ended.status) == 2);
  CHECK(ended.err.rfind("gradhealth: ", 0) == 0);
  CHECK(ended.err.find('\n') + 1 == ended.err.size());
  CHECK(ended.err.find(word) != std::string::npos);
}

}  // namespace

TEST_CASE("what a confined command returns is its exit code", "[tools]") {
  for (const int code : {0, 1, 2, 3}) CHECK(WEXITSTATUS(confined([&] { return code; }).status) == code);
}

TEST_CASE("a crash while reading is told in one line that names the file, safe to show", "[tools]") {
  const Ended ended = confined([] {
    now_reading("other.h5");
    now_reading("a\x1b[31m\n.h5");
    std::raise(SIGSEGV);
    return 0;
  });
  check_refusal(ended, "a\\x1b[31m\\n.h5: reading it ended in a crash");
}

TEST_CASE("what a library says before it gives up is not shown, and the command's own words are", "[tools]") {
  const Ended ended = confined([]() -> int {
    std::cerr << "gradhealth: first\n";
    now_reading("run.h5");
    std::fputs("H5B2hdr.c:165: Assertion `n > 0' failed.\n", stderr);
    std::abort();
  });
  CHECK(WEXITSTATUS(ended.status) == 2);
  CHECK(ended.err.rfind("gradhealth: first\ngradhealth: run.h5: reading it ended in a crash (Abort", 0) == 0);
}

TEST_CASE("a file that takes for ever is given up", "[tools]") {
  const Ended ended = confined([] {
    now_reading("run.h5");
    rlimit time{};
    ::getrlimit(RLIMIT_CPU, &time);
    if (time.rlim_cur > 11) return 1;
    time.rlim_cur = 1;  // Not to wait for all ten.
    ::setrlimit(RLIMIT_CPU, &time);
    for (volatile unsigned n = 0;; n = n + 1) {
    }
  });
  check_refusal(ended, "run.h5: reading it took longer");
}

TEST_CASE("a confined command has 4 GiB of address space, where that can be limited", "[tools]") {
  const Ended ended = confined([] {
    rlimit memory{};
    ::getrlimit(RLIMIT_AS, &memory);
    return memory.rlim_cur == rlim_t{4} << 30 ? 0 : 1;
  });
#if defined(__SANITIZE_ADDRESS__)
  CHECK(WEXITSTATUS(ended.status) == 1);
#else
  CHECK(WEXITSTATUS(ended.status) == 0);
#endif
}

TEST_CASE("a signal to the command ends both processes as it would end one", "[tools]") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const Ended ended = confined(
      [&] {
        const pid_t self = ::getpid();
        if (::write(ends[1], &self, sizeof self) != sizeof self) return 99;
        ::pause();
        return 0;
      },
      [&](pid_t process) {
        pid_t child = 0;
        REQUIRE(::read(ends[0], &child, sizeof child) == sizeof child);
        CHECK(child != process);
        ::kill(process, SIGTERM);
      });
  CHECK(WIFSIGNALED(ended.status));
  CHECK(WTERMSIG(ended.status) == SIGTERM);
  CHECK(ended.err.empty());
}

TEST_CASE("GRADHEALTH_LIMITS=off runs a command without a child", "[tools]") {
  ::setenv("GRADHEALTH_LIMITS", "off", 1);
  const pid_t self = ::getpid();
  CHECK(run_confined([&] { return ::getpid() == self ? 7 : 8; }) == 7);
  ::unsetenv("GRADHEALTH_LIMITS");
}
