// Writes a run, reads it back and judges it, with the core alone.
#include <gradhealth/config.h>
#include <gradhealth/diagnosis.h>
#include <gradhealth/report.h>
#include <gradhealth/run_file.h>

#include <iostream>

int main(int, char** argv) {
  gradhealth::Run run;
  gradhealth::RunWriter writer(argv[1], run);
  gradhealth::StepRecord row;
  row.set(gradhealth::Quantity::kLoss, 1);
  writer.append(run, row);
  writer.close();

  const gradhealth::RunReader reader(writer.status().path);
  gradhealth::Diagnoser diagnoser(gradhealth::parse_config(gradhealth::default_config(), "defaults"));
  reader.for_each_step([&](const gradhealth::StepRecord& record) { diagnoser.observe(reader.run(), record); });
  gradhealth::Report report;
  report.models.push_back({reader.run(), diagnoser.diagnosis(), {}, true});
  gradhealth::write_json(std::cout, report);
  return reader.rows() == 1 && verdict(report) == gradhealth::Verdict::kUndecided ? 0 : 1;
}
