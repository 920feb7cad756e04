#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

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
  /// Reads every credential's file (read_secret_file). A relative name is looked up in `secrets_dir`, then in the
  /// service manager's credential folder ($CREDENTIALS_DIRECTORY). What could not be loaded is in `errors`; the tunnels
  /// that use it cannot authenticate, all others can. Waits for the disk.
  static std::shared_ptr<const Credentials> load(const policy::Config& config, const std::string& secrets_dir);

  /// The pre-shared key; nullptr when the credential is not there.
  const Secret* psk(const std::string& credential) const;
  /// The keys of a child whose keys are manual. Error kConfigSecretFile: they could not be loaded, or are not as long
  /// as the child's suite needs.
  Result<policy::ManualKeys> manual_keys(const policy::ChildConfig& child) const;
  bool has(const std::string& credential) const;
  /// Whether the other ones hold something else under this name, or one of the two holds nothing.
  bool differs(const Credentials& other, const std::string& credential) const;
  const std::map<std::string, Error>& errors() const { return errors_; }
  /// What stands out in files that were loaded: by credential, sentences with the name of the file.
  const std::map<std::string, std::vector<std::string>>& unusual() const { return unusual_; }

 private:
  Status load(const policy::Credential& credential, const std::string& secrets_dir, std::vector<std::string>& unusual);
  std::map<std::string, Secret> psks_;
  std::map<std::string, std::pair<KeyPair, KeyPair>> manual_;  // in, out
  std::map<std::string, Error> errors_;
  std::map<std::string, std::vector<std::string>> unusual_;
};

/// The key in a file's content: one line of text, or "0x" and hexadecimal digits. A line end is not part of it.
Result<Secret> parse_psk(ByteView content);
/// What of a file with a key is seldom meant: a byte order mark, blanks or quotes around the key, NUL bytes, and the
/// prefix 0s, by which other programs mean base64. Each is a part of the key here. The texts hold nothing of it.
std::vector<std::string> unusual_in(ByteView content);
/// Two lines of "0x" and hexadecimal digits: encryption key and integrity key.
Result<KeyPair> parse_key_pair(ByteView content);

}  // namespace ipsec::agent
