#pragma once

/// The library's version; CMakeLists.txt reads it from here.
#define GRADHEALTH_VERSION "0.1.0"
