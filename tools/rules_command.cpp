#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include <gradhealth/report.h>

#include "commands.h"
#include "output.h"

namespace gradhealth {

void add_rules_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("rules", "List all rules");
  auto as_json = std::make_shared<bool>(false);
  auto as_markdown = std::make_shared<bool>(false);
  auto colour = std::make_shared<std::string>("auto");
  command->add_flag("--markdown", *as_markdown, "In full, as Markdown");
  command->add_flag("--json", *as_json, "As JSON, with everything that is documented");
  command->add_option("--color", *colour, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("WHEN");
  command->callback([as_json, as_markdown, colour, &exit_code] {
    write_stdout([&](std::ostream& out) {
      if (*as_json)
        write_rules_json(out, catalogue());
      else if (*as_markdown)
        write_rules_markdown(out, catalogue());
      else
        write_rule_list(out, catalogue(), terminal_options(*colour));
    });
    exit_code = kExitOk;
  });
}

}  // namespace gradhealth
