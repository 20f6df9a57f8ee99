#include "zoo/processes.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>

namespace gradhealth::zoo {
namespace {

struct Child {
  pid_t process;
  int pipe;
  std::size_t job;
  std::string text;
};

Child start(std::size_t number, int seconds, const std::function<std::string(std::size_t)>& job) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) throw std::runtime_error("no pipe");
  const pid_t process = fork();
  if (process < 0) throw std::runtime_error("no process");
  if (process > 0) {
    close(ends[1]);
    return {process, ends[0], number, {}};
  }
  close(ends[0]);
  alarm(static_cast<unsigned>(seconds));
  const std::string text = job(number);
  std::size_t written = 0;
  while (written < text.size()) {
    const ssize_t count = write(ends[1], text.data() + written, text.size() - written);
    if (count < 0 && errno != EINTR) break;
    if (count > 0) written += static_cast<std::size_t>(count);
  }
  _exit(0);  // What the parent registered for its own end is none of the child's business.
}

/// @returns whether there is more to come.
bool read_some(Child& child) {
  std::array<char, 4096> buffer{};
  const ssize_t count = read(child.pipe, buffer.data(), buffer.size());
  if (count < 0 && errno == EINTR) return true;
  if (count > 0) child.text.append(buffer.data(), static_cast<std::size_t>(count));
  return count > 0;
}

}  // namespace

void run_in_processes(std::size_t jobs, std::size_t at_once, int seconds_each,
                      const std::function<std::string(std::size_t)>& job,
                      const std::function<void(std::size_t, const std::string&)>& done) {
  std::vector<Child> children;
  std::size_t next = 0;
  while (next < jobs || !children.empty()) {
    while (next < jobs && children.size() < at_once) children.push_back(start(next++, seconds_each, job));
    std::vector<pollfd> waiting;
    for (const Child& child : children) waiting.push_back({child.pipe, POLLIN, 0});
    if (poll(waiting.data(), waiting.size(), -1) < 0) continue;
    for (std::size_t i = children.size(); i-- > 0;) {
      if (waiting[i].revents == 0 || read_some(children[i])) continue;
      const Child ended = std::move(children[i]);
      children.erase(children.begin() + static_cast<std::ptrdiff_t>(i));
      close(ended.pipe);
      int status = 0;
      waitpid(ended.process, &status, 0);
      done(ended.job, WIFEXITED(status) && WEXITSTATUS(status) == 0 ? ended.text : std::string());
    }
  }
}

}  // namespace gradhealth::zoo
