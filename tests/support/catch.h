#pragma once

// Catch2 2.13 (Debian 12) and 3.x (Debian 13) name their headers differently.
#if GRADHEALTH_CATCH2_VERSION == 2
#include <catch2/catch.hpp>
#else
#include <catch2/catch_all.hpp>
#endif
