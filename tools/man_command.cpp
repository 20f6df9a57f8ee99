#include <ostream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>

#include "commands.h"
#include "described.h"
#include "output.h"

namespace gradhealth {

namespace {

/// Text of a manual page (mdoc): no backslash and no line begins a macro.
std::string roff(std::string_view text) {
  std::string out;
  bool line_begins = true;
  for (const char c : text) {
    if (line_begins && (c == '.' || c == '\'')) out += "\\&";
    out += c == '\\' ? std::string("\\e") : c == '-' ? std::string("\\-") : std::string(1, c);
    line_begins = c == '\n';
  }
  return out;
}

void write_option(std::ostream& out, const CLI::Option& option) {
  out << ".It";
  bool first = true;
  for (const std::string& name : option.get_snames()) out << (std::exchange(first, false) ? "" : " ,") << " Fl " << name;
  for (const std::string& name : option.get_lnames()) out << (std::exchange(first, false) ? "" : " ,") << " Fl \\-" << roff(name);
  if (takes_value(option)) out << " Ar " << value_name(option);
  out << '\n' << roff(option.get_description()) << ".\n";
}

void write_options(std::ostream& out, const CLI::App& app) {
  out << ".Bl -tag -width Ds\n";
  for (const CLI::Option* option : positionals_of(app))
    out << ".It Ar " << option->get_name(true) << '\n' << roff(option->get_description()) << ".\n";
  for (const CLI::Option* option : options_of(app)) write_option(out, *option);
  out << ".El\n";
}

void write_literal(std::ostream& out, const std::string& text) {
  if (text.empty()) return;
  out << ".Bd -literal\n";
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) out << roff(line) << '\n';
  out << ".Ed\n";
}

void write_page(std::ostream& out, const CLI::App& app) {
  out << ".\\\" Written by `gradhealth __man`; a test holds both together.\n"
         ".Dd November 27, 2026\n.Dt GRADHEALTH 1\n.Os\n.Sh NAME\n.Nm gradhealth\n"
         ".Nd tells why a LibTorch training goes wrong\n.Sh SYNOPSIS\n";
  for (const CLI::App* command : commands_of(app)) {
    out << ".Nm gradhealth\n.Cm " << command->get_name() << "\n.Op Ar options\n";
    for (const CLI::Option* option : positionals_of(*command)) out << ".Ar " << option->get_name(true) << '\n';
  }
  out << ".Sh DESCRIPTION\n" << roff(app.get_description())
      << "\nA trainer that uses gradhealth's hooks records a run file while it runs;\n.Nm\n"
         "reads such files, finished or not.\n";
  write_options(out, app);
  out << ".Sh COMMANDS\n";
  for (const CLI::App* command : commands_of(app)) {
    out << ".Ss " << command->get_name() << '\n' << roff(command->get_description()) << ".\n";
    write_options(out, *command);
    write_literal(out, command->get_footer());
  }
  out << ".Sh ENVIRONMENT\n.Bl -tag -width GRADHEALTH_LIMITS\n"
         ".It Ev GRADHEALTH_LIMITS\nFiles are read in a child process that may use 4 GiB of address space, and ten seconds of "
         "processor time and another one for each 4 MiB of the file, so that a damaged one does no harm. If this is\n.Ql off ,\n"
         "they are read without limits and without a child.\n"
         ".It Ev NO_COLOR\nIf set and not empty, no colour unless\n.Fl \\-color Ar always\nasks for it.\n"
         ".It Ev TERM\nA terminal that calls itself\n.Ql dumb\ngets lines from\n.Cm watch .\n.El\n"
         ".Sh EXIT STATUS\n.Bl -tag -width Ds\n"
         ".It 0\nDone, or healthy.\n"
         ".It 1\nFindings of\n.Fl \\-fail\\-on\nor above\n.Pq Cm check ,\nor something was lost\n.Pq Cm recover .\n"
         ".It 2\nCould not judge: wrong usage or configuration, an unreadable or foreign file, an undecided or unfinished run.\n"
         ".It 3\nA defect of gradhealth.\n.El\n";
}

}  // namespace

void add_man_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("__man", "The manual page");
  command->group("");
  command->callback([&app, &exit_code] {
    write_stdout([&](std::ostream& out) { write_page(out, app); });
    exit_code = kExitOk;
  });
}

}  // namespace gradhealth
