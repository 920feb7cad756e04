#pragma once

#include <map>
#include <memory>
#include <string>

#include "policy/base/result.h"
#include "policy/base/secret.h"
#include "policy/config.h"
#include "policy/manual.h"

namespace ipsec::agent {

/// What a file with manual keys holds.
struct KeyPair {
  Secret encryption, integrity;
};

/// The secrets that the configuration refers to, loaded once; immutable, shared by the workers.
class Credentials {
 public:
  /// Reads every credential's file. A relative name is looked up in `secrets_dir`, then in the service manager's
  /// credential folder
  /// ($CREDENTIALS_DIRECTORY). A file that others may read is refused. What could not be loaded is in `errors`; the
  /// tunnels that use it cannot authenticate, all others can.
  static std::shared_ptr<const Credentials> load(const policy::Config& config, const std::string& secrets_dir);

  /// The pre-shared key; nullptr when the credential is not there.
  const Secret* psk(const std::string& credential) const;
  /// The keys of a child whose keys are manual. Error kConfigSecretFile: they could not be loaded, or are not as long
  /// as the child's suite needs.
  Result<policy::ManualKeys> manual_keys(const policy::ChildConfig& child) const;
  const std::map<std::string, Error>& errors() const { return errors_; }

 private:
  Status load(const policy::Credential& credential, const std::string& secrets_dir);
  std::map<std::string, Secret> psks_;
  std::map<std::string, std::pair<KeyPair, KeyPair>> manual_;  // in, out
  std::map<std::string, Error> errors_;
};

/// The key in a file's content: one line of text, or "0x" and hexadecimal digits. A line end is not part of it.
Result<Secret> parse_psk(ByteView content);
/// Two lines of "0x" and hexadecimal digits: encryption key and integrity key.
Result<KeyPair> parse_key_pair(ByteView content);

}  // namespace ipsec::agent
