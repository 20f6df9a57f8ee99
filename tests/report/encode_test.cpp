#include "report/encode.h"

#include <cmath>
#include <limits>

#include "support/catch.h"

using gradhealth::EncodedMatrix;
using gradhealth::PlotMatrix;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

unsigned code(const std::string& row, std::size_t column) {
  return static_cast<unsigned char>(row[2 * column]) |
         static_cast<unsigned>(static_cast<unsigned char>(row[2 * column + 1])) << 8;
}

PlotMatrix matrix() {
  PlotMatrix m;
  m.subjects = {"a"};
  m.first_step = {0, 1, 2, 3, 4};
  m.maximum = {{1e-6, 0, kNaN, 5, 1e3}};
  m.nonfinite = {{0, 0, 0, 1, 0}};
  return m;
}

}  // namespace

TEST_CASE("base64 agrees with the vectors of RFC 4648", "[report]") {
  CHECK(gradhealth::base64("") == "");
  CHECK(gradhealth::base64("f") == "Zg==");
  CHECK(gradhealth::base64("fo") == "Zm8=");
  CHECK(gradhealth::base64("foo") == "Zm9v");
  CHECK(gradhealth::base64("foobar") == "Zm9vYmFy");
  CHECK(gradhealth::from_hex("00fFa5") == std::string("\x00\xff\xa5", 3));
}

TEST_CASE("zero, missing and non-finite values have codes of their own", "[report]") {
  const EncodedMatrix encoded = gradhealth::encode(matrix(), 100, 1000);
  REQUIRE(encoded.rows.size() == 1);
  const std::string& row = encoded.rows[0];
  CHECK(code(row, 0) == EncodedMatrix::kFirst);
  CHECK(code(row, 1) == EncodedMatrix::kZero);
  CHECK(code(row, 2) == EncodedMatrix::kMissing);
  CHECK(code(row, 3) == EncodedMatrix::kNonfinite);
  CHECK(code(row, 4) == EncodedMatrix::kLast);
}

TEST_CASE("a code reads back as the value, to better than a tenth of a percent over nine decades", "[report]") {
  PlotMatrix m = matrix();
  m.maximum[0][1] = 0.0123;
  const EncodedMatrix encoded = gradhealth::encode(m, 100, 1000);
  const double share = (code(encoded.rows[0], 1) - EncodedMatrix::kFirst) /
                       static_cast<double>(EncodedMatrix::kLast - EncodedMatrix::kFirst);
  const double value = std::pow(10, encoded.low + share * (encoded.high - encoded.low));
  CHECK(std::abs(value / 0.0123 - 1) < 1e-3);
}

TEST_CASE("merged cells keep the worst of what they stand for", "[report]") {
  const EncodedMatrix encoded = gradhealth::encode(matrix(), 3, 1000);
  CHECK(encoded.first_step == std::vector<std::int64_t>{0, 2, 4});
  CHECK(code(encoded.rows[0], 0) == EncodedMatrix::kFirst);
  CHECK(code(encoded.rows[0], 1) == EncodedMatrix::kNonfinite);
  CHECK(code(encoded.rows[0], 2) == EncodedMatrix::kLast);
}

TEST_CASE("a matrix without values, rows or columns is encoded", "[report]") {
  CHECK(gradhealth::encode({}, 10, 10).rows.empty());
  PlotMatrix m;
  m.subjects = {"a", "b"};
  m.maximum.resize(2);
  m.nonfinite.resize(2);
  CHECK(gradhealth::encode(m, 10, 1).rows == std::vector<std::string>{"", ""});
  m = matrix();
  m.maximum = {{kNaN, kNaN, kNaN, kNaN, kNaN}};
  CHECK(code(gradhealth::encode(m, 10, 10).rows[0], 0) == EncodedMatrix::kMissing);
}
