#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include <gradhealth/export.h>

#include "export/csv_line.h"
#include "export/tf_record.h"
#include "support/catch.h"

using namespace gradhealth;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

std::string cell(std::string_view text) {
  std::ostringstream out;
  CsvLine().text(text).write(out);
  return out.str();
}

/// A run of two parameters, kept in memory.
struct Sample {
  Sample() {
    run.info.created_utc = "2026-01-02T03:04:05Z";
    run.of(Axis::kParameter) = {{"a,\"b\"", "", "weight", "1", "float32", 1}, {"=1+1", "", "weight", "1", "float32", 1}};
  }
  StepRecord& add(std::int64_t step) {
    records.emplace_back();
    records.back().step = step;
    records.back().wall_time = 0.5 * static_cast<double>(step);
    return records.back();
  }
  ExportedRun exported(const std::string& model = "") const {
    return {model, &run, [this](const auto& visit) {
              for (const StepRecord& record : records) visit(record);
            }};
  }

  Run run;
  std::vector<StepRecord> records;
};

template <typename Write>
std::string written(const std::vector<ExportedRun>& runs, Write write) {
  std::ostringstream out;
  write(out, runs);
  return out.str();
}

}  // namespace

TEST_CASE("cells are quoted where they must be, and are no formulas", "[export]") {
  CHECK(cell("plain text") == "plain text\r\n");
  CHECK(cell("a,b") == "\"a,b\"\r\n");
  CHECK(cell("say \"x\"") == "\"say \"\"x\"\"\"\r\n");
  CHECK(cell("two\r\nlines") == "two\\x0d\\nlines\r\n");
  CHECK(cell("\x1b[31m") == "\\x1b[31m\r\n");
  CHECK(cell("=HYPERLINK(\"x\",1)") == "\"'=HYPERLINK(\"\"x\"\",1)\"\r\n");
  for (const char* formula : {"=1", "+1", "-1", "@x"}) CHECK(cell(formula) == "'" + std::string(formula) + "\r\n");
  for (const char* harmless : {"a=1", "conv-1", "'=1", "größe"}) CHECK(cell(harmless) == std::string(harmless) + "\r\n");
  CHECK(cell("\tx") == "    x\r\n");
  CHECK(cell("\xff") == "\\xff\r\n");
}

TEST_CASE("numbers read back exactly, the ones that are none by name", "[export]") {
  std::ostringstream out;
  CsvLine line;
  line.number(0.1, Precision::kFloat64).number(static_cast<float>(0.1), Precision::kFloat32);
  line.number(kNan, Precision::kFloat64).number(-kNan, Precision::kFloat32).number(kInf, Precision::kFloat32);
  line.number(-kInf, Precision::kFloat64).number(-0.25, Precision::kFloat64).number(std::int64_t{-3}).empty().write(out);
  CHECK(out.str() == "0.1,0.1,nan,nan,inf,-inf,-0.25,-3,\r\n");
}

TEST_CASE("missing is not NaN", "[export]") {
  Sample sample;
  StepRecord& first = sample.add(0);
  first.set(Quantity::kLoss, 1.5);
  first.set(Quantity::kGradientNorm, 1, 2);
  first.set(Quantity::kGradientNonfinite, 0, 3);  // Counted, hence a norm that is NaN.
  first.set(Quantity::kGradientNonfinite, 1, 0);
  StepRecord& second = sample.add(10);
  second.set(Quantity::kLossNonfinite, 1);
  second.wall_time = kNan;
  second.events.push_back({10, "finding", "@x", "says \"no\", twice"});

  CHECK(written({sample.exported()}, write_csv_wide) ==
        "step,model,wall_time,loss,loss_nonfinite,global_gradient_norm,\"parameter/gradient_norm/a,\"\"b\"\"\","
        "parameter/gradient_norm/=1+1,\"parameter/gradient_max/a,\"\"b\"\"\","
        "\"parameter/gradient_nonfinite/a,\"\"b\"\"\",parameter/gradient_nonfinite/=1+1\r\n"
        "0,,0,1.5,,nan,nan,2,nan,3,0\r\n"
        "10,,,nan,1,,,,,,\r\n");
  CHECK(written({sample.exported("G")}, write_csv_long) ==
        "step,model,quantity,subject,value\r\n"
        "0,G,wall_time,,0\r\n"
        "0,G,loss,,1.5\r\n"
        "0,G,global_gradient_norm,,nan\r\n"
        "0,G,parameter/gradient_norm,\"a,\"\"b\"\"\",nan\r\n"
        "0,G,parameter/gradient_norm,'=1+1,2\r\n"
        "0,G,parameter/gradient_max,\"a,\"\"b\"\"\",nan\r\n"
        "0,G,parameter/gradient_nonfinite,\"a,\"\"b\"\"\",3\r\n"
        "0,G,parameter/gradient_nonfinite,'=1+1,0\r\n"
        "10,G,loss,,nan\r\n"
        "10,G,loss_nonfinite,,1\r\n");
  CHECK(written({sample.exported("-G")}, write_csv_events) ==
        "step,model,kind,subject,text\r\n10,'-G,finding,'@x,\"says \"\"no\"\", twice\"\r\n");
}

TEST_CASE("several models share the columns that they have in common", "[export]") {
  Sample a, b;
  b.run.of(Axis::kParameter) = {{"only b", "", "", "", "", 1}, a.run.of(Axis::kParameter)[1]};
  a.add(0).set(Quantity::kWeightNorm, 1, 5);
  StepRecord& row = b.add(3);
  row.set(Quantity::kWeightNorm, 0, 6);
  row.set(Quantity::kWeightNorm, 1, 7);
  CHECK(written({a.exported("A"), b.exported("B")}, write_csv_wide) ==
        "step,model,wall_time,parameter/weight_norm/=1+1,parameter/weight_norm/only b\r\n"
        "0,A,0,5,\r\n"
        "3,B,1.5,7,6\r\n");
}

TEST_CASE("subjects of one name stay apart", "[export]") {
  Sample sample;
  sample.run.of(Axis::kParameter) = {{"w", "", "", "", "", 1}, {"w", "", "", "", "", 1}};
  StepRecord& row = sample.add(0);
  row.set(Quantity::kWeightNorm, 0, 1);
  row.set(Quantity::kWeightNorm, 1, 2);
  CHECK(written({sample.exported()}, write_csv_wide) ==
        "step,model,wall_time,parameter/weight_norm/w,parameter/weight_norm/w#2\r\n0,,0,1,2\r\n");
}

TEST_CASE("a run without rows is a line of titles", "[export]") {
  CHECK(written({Sample().exported()}, write_csv_wide) == "step,model,wall_time\r\n");
  CHECK(written({}, write_csv_long) == "step,model,quantity,subject,value\r\n");
}

TEST_CASE("checksums are RFC 3720's", "[export]") {
  using tensorflow::crc32c;
  // The examples of its appendix B.4, and the check value of the catalogue of CRCs.
  CHECK(crc32c(std::string(32, '\0')) == 0x8A9136AA);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62A8AB43);
  std::string ascending, descending;
  for (char c = 0; c < 32; ++c) {
    ascending += c;
    descending.insert(descending.begin(), c);
  }
  CHECK(crc32c(ascending) == 0x46DD794E);
  CHECK(crc32c(descending) == 0x113FDB5C);
  CHECK(crc32c("123456789") == 0xE3069283);
  CHECK(crc32c("") == 0);
}

TEST_CASE("fields are encoded as Protocol Buffers are", "[export]") {
  using namespace tensorflow;
  CHECK(integer_field(2, 150) == std::string("\x10\x96\x01"));
  CHECK(integer_field(2, -1) == "\x10" + std::string(9, '\xff') + "\x01");
  CHECK(bytes_field(2, "testing") == std::string("\x12\x07testing"));
  CHECK(float_field(2, 1.0f) == std::string("\x15\x00\x00\x80\x3f", 5));
  CHECK(double_field(1, 1.0) == std::string("\x09\x00\x00\x00\x00\x00\x00\xf0\x3f", 9));
  CHECK(bytes_field(16, std::string(200, 'x')).substr(0, 4) == std::string("\x82\x01\xc8\x01"));
}

TEST_CASE("an event file's name and times follow from the run alone", "[export]") {
  Sample sample;
  CHECK(tensorboard_file_name(sample.run) == "events.out.tfevents.1767323045.gradhealth");
  sample.run.info.created_utc = "2000-02-29T23:59:59Z";
  CHECK(tensorboard_file_name(sample.run) == "events.out.tfevents.0951868799.gradhealth");
  sample.run.info.created_utc = "yesterday";
  CHECK(tensorboard_file_name(sample.run) == "events.out.tfevents.0000000000.gradhealth");
}
