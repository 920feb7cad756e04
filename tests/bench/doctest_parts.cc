// What the tests' world of a tunnel manager uses of doctest; there are no test cases here.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
