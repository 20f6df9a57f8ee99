#include "report/escape.h"

#include <gradhealth/report.h>

#include "support/catch.h"

using gradhealth::html;
using gradhealth::printable;
using gradhealth::printable_text;

TEST_CASE("text that is only text stays as it is", "[report]") {
  CHECK(printable("encoder.0.linear1.weight") == "encoder.0.linear1.weight");
  CHECK(printable("σ ≥ 3, 学習, 🙂") == "σ ≥ 3, 学習, 🙂");
}

TEST_CASE("control characters are made visible", "[report]") {
  CHECK(printable("a\x1b[31mb") == "a\\x1b[31mb");
  CHECK(printable("a\nb\tc\r") == "a\\nb    c\\x0d");
  CHECK(printable(std::string("a\0b", 3)) == "a\\x00b");
  CHECK(printable("\x7f") == "\\x7f");
  CHECK(printable("\xc2\x9b"
                  "31m") == "\\x9b31m");
}

TEST_CASE("characters that turn the direction of text are made visible", "[report]") {
  CHECK(printable("\xe2\x80\xae") == "\\u202e");
  CHECK(printable("\xe2\x81\xa6") == "\\u2066");
  CHECK(printable("\xef\xbb\xbf") == "\\ufeff");
}

TEST_CASE("bytes that are not UTF-8 are made visible", "[report]") {
  CHECK(printable("\xff") == "\\xff");
  CHECK(printable("\xe2\x80") == "\\xe2\\x80");
  CHECK(printable("\xc0\xaf") == "\\xc0\\xaf");
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");
  CHECK(printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");
}

TEST_CASE("text of several lines keeps them", "[report]") { CHECK(printable_text("a\nb\x1b") == "a\nb\\x1b"); }

TEST_CASE("markup becomes text", "[report]") {
  CHECK(html("<b a=\"1\" c='2'>&") == "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;");
}
