#pragma once

#include <string>

#include "policy/base/result.h"
#include "policy/base/secret.h"

namespace ipsec::agent {

/// The content of a file of secrets. Symbolic links are followed, as container platforms and configuration managers
/// lay them; but whoever can change a folder or a link on the way could give us another key, so each of them must
/// belong to root or to this process's user, and no other user may write to it (a folder like /tmp, where only owners
/// remove their files, is fine). The file itself must be regular, belong to one of the two, and be closed to others.
///
/// Error kConfigSecretFile. Its text shows names only of what exists: somebody may have written the key itself where
/// the name of its file belongs.
Result<Secret> read_secret_file(const std::string& path);

}  // namespace ipsec::agent
