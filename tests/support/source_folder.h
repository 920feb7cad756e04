#pragma once

#include <string>

namespace ipsec::testing {

/// Where `path`, which is relative to the folder of the sources, lies on this machine. Only source_folder.cc is compiled
/// with that folder's name, so that a compiler cache can hand one checkout's tests to another.
std::string in_source_folder(const std::string& path);

}  // namespace ipsec::testing
