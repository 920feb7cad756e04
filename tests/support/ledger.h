#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <set>
#include <string>

/// Which rules of RFC 7296 a test asserts, for tests/ike/rfc7296_ledger: `LEDGER("2.1-01", "2.1-07");` inside a
/// TEST_CASE.
namespace ipsec::testing {

/// Writes "id, tabulator, name of the test case" to the file that LEDGER_FILE names, once per run; nothing without it.
/// The first line of a run begins the file anew. Whoever reads it counts only programs that have passed.
inline void write_to_ledger(std::initializer_list<const char*> ids) {
  static std::ofstream file;
  static std::set<std::string> written;
  const char* path = std::getenv("LEDGER_FILE");
  if (path == nullptr) return;
  if (!file.is_open()) file.open(path, std::ios::trunc);
  for (const char* id : ids) {
    std::string line = std::string(id) + '\t' + doctest::getContextOptions()->currentTest->m_name;
    if (written.insert(line).second) file << line << std::endl;
  }
}

}  // namespace ipsec::testing

#define LEDGER(...) ::ipsec::testing::write_to_ledger({__VA_ARGS__})
