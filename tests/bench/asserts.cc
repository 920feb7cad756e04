// The worlds of the tests say what must hold with doctest: its implementation, without its main().
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
