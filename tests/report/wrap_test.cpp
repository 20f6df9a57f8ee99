#include "report/wrap.h"

#include "support/catch.h"

using gradhealth::wrap;

TEST_CASE("lines break at spaces and stay within the width", "[report]") {
  CHECK(wrap("aa bb cc dd", 8, "  ", "- ") == "- aa bb\n  cc dd\n");
}

TEST_CASE("a word longer than the width stays whole", "[report]") {
  CHECK(wrap("a encoder.layers.17 b", 8, "", "") == "a\nencoder.layers.17\nb\n");
}

TEST_CASE("the width is counted in characters, not in bytes", "[report]") {
  CHECK(wrap("σσ σσ σσ", 5, "", "") == "σσ σσ\nσσ\n");
  CHECK(gradhealth::display_width("≥ σ") == 3);
}

TEST_CASE("line feeds are kept and spaces collapse", "[report]") {
  CHECK(wrap("a  b\nc", 80, " ", "") == "a b\n c\n");
  CHECK(wrap("", 80, " ", "- ") == "- \n");
}

TEST_CASE("code is indented and otherwise unchanged", "[report]") {
  CHECK(gradhealth::indented("if (x)\n\n  y();", "  ") == "  if (x)\n\n    y();\n");
}
