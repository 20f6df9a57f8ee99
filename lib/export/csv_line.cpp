#include "export/csv_line.h"

#include <cmath>
#include <ostream>

#include <fmt/format.h>

#include <gradhealth/report.h>

namespace gradhealth {

std::string& CsvLine::next() {
  if (begun_) line_ += ',';
  begun_ = true;
  return line_;
}

CsvLine& CsvLine::text(std::string_view cell) {
  std::string shown = printable(cell);
  if (shown.find_first_of("=+-@") == 0) shown.insert(0, 1, '\'');
  std::string& line = next();
  if (shown.find_first_of(",\"") == std::string::npos) {
    line += shown;
    return *this;
  }
  line += '"';
  for (const char c : shown) line += c == '"' ? std::string(2, c) : std::string(1, c);
  line += '"';
  return *this;
}

CsvLine& CsvLine::number(double value, Precision precision) {
  std::string& line = next();
  if (std::isnan(value))
    line += "nan";  // Whatever its sign.
  else if (precision == Precision::kFloat32)
    line += fmt::format("{}", static_cast<float>(value));
  else
    line += fmt::format("{}", value);
  return *this;
}

CsvLine& CsvLine::number(std::int64_t value) {
  next() += fmt::format("{}", value);
  return *this;
}

CsvLine& CsvLine::empty() {
  next();
  return *this;
}

void CsvLine::write(std::ostream& out) {
  out << line_ << "\r\n";
  line_.clear();
  begun_ = false;
}

}  // namespace gradhealth
