#include <string>

#include "support/catch.h"
#include "tools/runs.h"
#include "tools/shell.h"

namespace fs = std::filesystem;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("CSV goes to a file with its events beside it, or to standard output", "[tools]") {
  const Folder folder;
  runs::broken(folder / "run.h5");
  const Ran ran = folder.gradhealth("export run.h5 --to csv -o out.csv");
  CHECK(ran.exit_code == 0);
  CHECK(ran.out.empty());
  CHECK(ran.err.empty());
  const std::string wide = read(folder / "out.csv");
  CHECK(wide.rfind("step,model,wall_time,loss,", 0) == 0);
  CHECK(contains(wide, "\r\n40,,0.4,nan,1,nan,"));
  CHECK(read(folder / "out.events.csv") == "step,model,kind,subject,text\r\n");
  CHECK(folder.gradhealth("export run.h5 --to csv -o -").out == wide);
  CHECK(contains(folder.gradhealth("export run.h5 --to csv-long -o -").out, "\r\n0,,parameter/weight_norm,fc1.weight,8\r\n"));
}

TEST_CASE("each model has its name in CSV and its directory in TensorBoard", "[tools]") {
  const Folder folder;
  fs::create_directory(folder / "gan");
  runs::healthy(folder / "gan/d.h5", 5);
  runs::healthy(folder / "gan/g.h5", 5, "G");
  const std::string table = folder.gradhealth("export gan --to csv -o -").out;
  CHECK(contains(table, "\r\n4,d,"));
  CHECK(contains(table, "\r\n4,G,"));
  CHECK(folder.gradhealth("export gan --to tensorboard -o logs").exit_code == 0);
  CHECK(fs::exists(folder / "logs/d/events.out.tfevents.0000000000.gradhealth"));
  CHECK(fs::exists(folder / "logs/g/events.out.tfevents.0000000000.gradhealth"));
}

TEST_CASE("parts of one run are exported as one", "[tools]") {
  const Folder folder;
  fs::create_directory(folder / "run");
  runs::healthy(folder / "run/run.h5", 50);
  runs::broken_continuation(folder / "run/run-2.h5", "run.h5", 30);
  const std::string table = folder.gradhealth("export run --to csv -o -").out;
  CHECK(contains(table, "\r\n29,,"));
  CHECK(contains(table, "\r\n129,,"));
  CHECK(table.find("\r\n40,,") == table.rfind("\r\n40,,"));
}

TEST_CASE("an export overwrites no run file, and says what it cannot do", "[tools]") {
  const Folder folder;
  runs::healthy(folder / "run.h5", 10);
  const std::string before = read(folder / "run.h5");
  for (const char* arguments :
       {"--to csv -o run.h5", "--to csv", "--to excel -o x", "-o x.csv", "--to csv -o missing/x.csv",
        "--to tensorboard -o -", "--to tensorboard -o run.h5", "--to csv -o ."}) {
    CAPTURE(arguments);
    CHECK(refused(folder.gradhealth(std::string("export run.h5 ") + arguments)));
  }
  CHECK(read(folder / "run.h5") == before);
  CHECK(folder.shell("ls -A").out == ".err\n.out\nrun.h5\n");
  CHECK(folder.shell("\"$gradhealth\" export run.h5 --to csv-long -o - | head -n 1").out == "step,model,quantity,subject,value\r\n");
}
