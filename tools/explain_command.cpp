#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include <gradhealth/errors.h>

#include "commands.h"
#include "output.h"

namespace gradhealth {

void add_explain_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("explain", "What a rule means, how it judges, its options and limits");
  auto id = std::make_shared<std::string>();
  auto colour = std::make_shared<std::string>("auto");
  command->add_option("RULE", *id, "A rule's id, as `gradhealth rules` lists it")->required();
  command->add_option("--color", *colour, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("WHEN");
  command->footer("Example:\n  gradhealth explain vanishing-gradient");
  command->callback([id, colour, &exit_code] {
    const Rule* rule = find_rule(catalogue(), *id);
    if (rule == nullptr) throw UsageError("no rule is called " + printable(*id) + ": `gradhealth rules` lists them");
    write_stdout([&](std::ostream& out) { write_explanation(out, rule->info, terminal_options(*colour)); });
    exit_code = kExitOk;
  });
}

}  // namespace gradhealth
