#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

#include <gradhealth/run.h>

namespace gradhealth {

/// One line of a CSV file, cell by cell (RFC 4180).
class CsvLine {
 public:
  CsvLine& text(std::string_view cell);  ///< Made printable, and no formula.
  CsvLine& number(double value, Precision precision);
  CsvLine& number(std::int64_t value);
  CsvLine& empty();
  void write(std::ostream& out);  ///< Writes the line and begins the next one.

 private:
  std::string& next();

  std::string line_;
  bool begun_ = false;
};

}  // namespace gradhealth
