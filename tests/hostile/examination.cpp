#include "hostile/examination.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "hostile/outputs.h"

namespace fs = std::filesystem;
namespace gradhealth::hostile {
namespace {

/// Without what glibc's allocator says when it ends a process whose memory HDF5 has ruined.
std::string_view without_last_words(const Ran& ran) {
  constexpr std::array<std::string_view, 9> kAllocator{
      "double free or corruption", "free(): ",   "malloc(): ",          "malloc_consolidate(): ", "realloc(): ",
      "munmap_chunk(): ",          "corrupted ", "Fatal glibc error: ", "unlink_chunk(): "};
  std::string_view text = ran.err;
  if (!ran.crashed) return text;
  for (const std::string_view word : kAllocator)
    if (text.substr(0, word.size()) == word) return text.substr(std::min(text.find('\n'), text.size() - 1) + 1);
  return text;
}

/// Looks at one command's end and its output; empty if all is well.
std::string fault_of(const Ran& ran, const std::string& wrong_output) {
  if (ran.signal != 0) return std::string("ended by signal: ") + strsignal(ran.signal) + ": " + ran.err.substr(0, 2000);
  if (ran.exit_code < 0 || ran.exit_code > 2)
    return "exit code " + std::to_string(ran.exit_code) + ": " + ran.err.substr(0, 2000);
  if (!ran.err.empty())
    if (std::string wrong = wrong_complaint(without_last_words(ran)); !wrong.empty())
      return wrong + ": " + ran.err.substr(0, 500);
  if (ran.exit_code == 2 && ran.err.empty() && ran.out.find("UNDECIDED") == std::string::npos &&
      ran.out.find("The recording was not finished") == std::string::npos)
    return "exit code 2 and no word why";
  return wrong_output;
}

std::string nothing_wrong(const Ran&) { return {}; }
std::string wrong_stdout(const Ran& ran) { return wrong_text(ran.out); }

}  // namespace

void Examination::files(const std::string& run) {
  expect({"report", run}, wrong_stdout);
  expect({"report", run, "--ascii", "-o", "r.html"}, of_file("r.html", wrong_html));
  expect({"report", run, "-o", "r.json"}, of_file("r.json", wrong_json));
  expect({"report", run, "-o", "r.md"}, of_file("r.md", wrong_text));
  expect({"check", run, "--github", "--json", "c.json", "--junit", "c.xml", "--sarif", "c.sarif", "--gitlab", "g.json",
          "--markdown", "c.md", "--source", "train.cpp:40"},
         [&](const Ran& ran) {
           std::string wrong = wrong_annotations(ran.out);
           for (const char* name : {"c.json", "c.sarif", "g.json"})
             if (wrong.empty()) wrong = of_file(name, wrong_json)(ran);
           if (wrong.empty()) wrong = of_file("c.xml", wrong_xml)(ran);
           return wrong.empty() ? of_file("c.md", wrong_text)(ran) : wrong;
         });
  expect({"diff", "healthy.h5", run}, wrong_stdout);
  expect({"diff", run, "healthy.h5", "-o", "d.html"}, of_file("d.html", wrong_html));
  expect({"check", run, "-q", "--baseline", "healthy.h5", "--allow-incomplete", "--allow-undecided"}, nothing_wrong);
  expect({"export", run, "--to", "csv", "-o", "e.csv"}, [&](const Ran& ran) {
    std::string wrong = of_file("e.csv", wrong_csv)(ran);
    return wrong.empty() ? of_file("e.events.csv", wrong_csv)(ran) : wrong;
  });
  expect({"export", run, "--to", "csv-long", "-o", "l.csv"}, of_file("l.csv", wrong_csv));
  expect({"export", run, "--to", "tensorboard", "-o", "board"}, nothing_wrong);
  expect({"watch", run, "--once"}, wrong_stdout);
  expect({"watch", run, "--timeout", "0.05", "--interval", "0.1"}, wrong_stdout);
  const bool is_directory = fs::is_directory(directory_ / run);
  if (is_directory) fs::create_directory(directory_ / "fixed");
  const Ran recovery = expect({"recover", run, "-o", is_directory ? "fixed" : "fixed.h5"}, wrong_stdout);
  if (recovery.exit_code == 2 || is_directory) return;
  const Ran again = expect({"report", "fixed.h5", "-o", "f.json"}, of_file("f.json", wrong_json));
  if (again.exit_code != 0 && !again.hung)
    note({"report", "fixed.h5"}, "what was recovered cannot be read: " + again.err);
}

void Examination::config() {
  expect({"check", "healthy.h5", "--config", "gradhealth.toml"}, wrong_stdout);
  expect({"report", "healthy.h5", "--config", "gradhealth.toml", "--format", "json"},
         [](const Ran& ran) { return ran.exit_code == 0 ? wrong_json(ran.out) : std::string(); });
  expect({"watch", "healthy.h5", "--once", "--config", "gradhealth.toml"}, wrong_stdout);
}

void add(Tally& to, const Tally& tally) {
  to.inputs += tally.inputs;
  to.commands += tally.commands;
  to.failures += tally.failures;
  to.crashes += tally.crashes;
  to.hangs += tally.hangs;
  for (std::size_t i = 0; i < to.exit_codes.size(); ++i) to.exit_codes[i] += tally.exit_codes[i];
  to.megabytes = std::max(to.megabytes, tally.megabytes);
  to.seconds = std::max(to.seconds, tally.seconds);
}

Examination::Judge Examination::of_file(const std::string& name,
                                        const std::function<std::string(const std::string&)>& judge) const {
  return [path = directory_ / name, judge](const Ran& ran) {
    if (ran.exit_code == 2 && !fs::exists(path)) return std::string();
    const std::string wrong = judge(content_of(path));
    return wrong.empty() ? wrong : path.filename().string() + ": " + wrong;
  };
}

Ran Examination::expect(const std::vector<std::string>& arguments, const Judge& judge) {
  if (tally_.hangs > 0) return {2, 0, 0, 0, false, true, {}, {}};
  Ran ran = run_limited(arguments, directory_);
  ++tally_.commands;
  tally_.crashes += ran.crashed;
  tally_.hangs += ran.hung;
  tally_.megabytes = std::max(tally_.megabytes, ran.megabytes);
  tally_.seconds = std::max(tally_.seconds, ran.seconds);
  if (ran.exit_code >= 0 && ran.exit_code <= 2) ++tally_.exit_codes[static_cast<std::size_t>(ran.exit_code)];
  const std::string fault = fault_of(ran, ran.exit_code >= 0 ? judge(ran) : "");
  if (!fault.empty()) note(arguments, fault);
  return ran;
}

void Examination::note(const std::vector<std::string>& arguments, const std::string& fault) {
  std::string line;
  for (const std::string& argument : arguments) line += argument + ' ';
  faults_.push_back(line + "-> " + fault);
}

}  // namespace gradhealth::hostile
