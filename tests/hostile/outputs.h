#pragma once

#include <string>
#include <string_view>

/// What an output may hold, whatever was in the file. Each answers what is wrong, or nothing.
namespace gradhealth::hostile {

/// Valid UTF-8 with no control characters but line feeds, and nothing that reorders or hides text.
std::string wrong_text(std::string_view text);
/// A line for people, on stderr.
std::string wrong_complaint(std::string_view text);
std::string wrong_json(std::string_view text);
std::string wrong_xml(const std::string& text);
/// No script but the page's own.
std::string wrong_html(std::string_view text);
/// RFC 4180, and no cell that is a formula.
std::string wrong_csv(std::string_view text);
/// No workflow command but annotations.
std::string wrong_annotations(std::string_view text);

}  // namespace gradhealth::hostile
