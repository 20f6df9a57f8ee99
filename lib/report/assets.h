#pragma once

#include <string_view>

namespace gradhealth {

/// Files that the HTML report carries with it; embedded at build time.
std::string_view report_css();
std::string_view report_js();
std::string_view dygraph_js();
std::string_view dygraph_css();
std::string_view dygraph_licence();

/// Hexadecimal digests of the scripts, byte for byte as embedded.
std::string_view report_js_sha256();
std::string_view dygraph_js_sha256();

}  // namespace gradhealth
