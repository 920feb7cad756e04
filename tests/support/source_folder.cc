#include "tests/support/source_folder.h"

namespace ipsec::testing {

std::string in_source_folder(const std::string& path) { return std::string(SOURCE_FOLDER) + "/" + path; }

}  // namespace ipsec::testing
