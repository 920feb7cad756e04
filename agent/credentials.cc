#include "agent/credentials.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <tuple>

#include "agent/limits.h"
#include "agent/secret_files.h"

namespace ipsec::agent {
namespace {

ByteView without_line_end(ByteView content) {
  while (!content.empty() && (content.back() == '\n' || content.back() == '\r'))
    content = content.first(content.size() - 1);
  return content;
}

bool is_blank(uint8_t byte) { return byte == ' ' || byte == '\t'; }

bool is_base64(uint8_t byte) {
  return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || byte == '+' ||
         byte == '/' || byte == '=';
}

std::string find_file(const std::string& name, const std::string& secrets_dir) {
  if (name.starts_with("/")) return name;
  std::string own = secrets_dir + "/" + name;
  const char* service_dir = std::getenv("CREDENTIALS_DIRECTORY");
  if (access(own.c_str(), F_OK) != 0 && service_dir != nullptr) return std::string(service_dir) + "/" + name;
  return own;
}

/// The content of a file of secrets, as `parse` reads it.
template <typename T>
Result<T> load_secret(const std::string& name, const std::string& secrets_dir, Result<T> (*parse)(ByteView),
                      std::vector<std::string>& unusual) {
  const std::string path = find_file(name, secrets_dir);
  TRY_ASSIGN(const Secret content, read_secret_file(path), "");
  Result<T> parsed = parse(content.expose());
  if (!parsed.ok()) return std::move(parsed).error().context(path);
  for (const std::string& each : unusual_in(content.expose())) unusual.push_back(path + ": " + each);
  return parsed;
}

Result<Secret> parse_hex_key(ByteView line) {
  std::string wanted =
      "two lines are wanted: 0x and the encryption key in hexadecimal digits, 0x and the integrity key";
  for (const std::string& each : unusual_in(line)) wanted += "; this one " + each;
  const Error bad(Reason::kConfigSecretFile, std::move(wanted));
  if (line.size() < 3 || line[0] != '0' || (line[1] != 'x' && line[1] != 'X')) return bad;
  auto bytes = from_hex(as_text(line.subspan(2)));
  if (!bytes.ok()) return bad;
  Secret key = Secret::copy_of(*bytes);
  wipe(*bytes);
  return key;
}

/// The material of one direction, if both keys are as long as the suite needs.
Result<policy::ChildKeys> join(const KeyPair& pair, const policy::EspSuite& suite) {
  for (const auto& [what, key, algorithm] :
       {std::tuple("encryption", &pair.encryption,
                   policy::find_algorithm(policy::TransformType::kEncryption, suite.encryption, suite.key_bits)),
        std::tuple("integrity", &pair.integrity,
                   policy::find_algorithm(policy::TransformType::kIntegrity, suite.integrity))}) {
    VERIFY(algorithm != nullptr);
    if (key->size() != algorithm->key_bytes)
      return Error(Reason::kConfigSecretFile, std::string("the ") + what + " key has " + std::to_string(key->size()) +
                                                  " bytes, " + std::string(algorithm->name) + " needs " +
                                                  std::to_string(algorithm->key_bytes));
  }
  Secret material(pair.encryption.size() + pair.integrity.size());
  std::ranges::copy(pair.encryption.expose(), material.writable().begin());
  std::ranges::copy(pair.integrity.expose(),
                    material.writable().begin() + static_cast<std::ptrdiff_t>(pair.encryption.size()));
  return policy::ChildKeys{std::move(material)};
}

}  // namespace

Result<Secret> parse_psk(ByteView content) {
  content = without_line_end(content);
  Secret secret;
  if (content.size() >= 2 && content[0] == '0' && (content[1] == 'x' || content[1] == 'X')) {
    auto bytes = from_hex(as_text(content.subspan(2)));
    if (!bytes.ok()) return Error(Reason::kConfigSecretFile, "after 0x only hexadecimal digits may stand");
    secret = Secret::copy_of(*bytes);
    wipe(*bytes);
  } else {
    for (uint8_t byte : content)
      if (byte == '\n') return Error(Reason::kConfigSecretFile, "more than one line");
    secret = Secret::copy_of(content);
  }
  if (secret.size() < kSecretBytesMin)
    return Error(Reason::kConfigSecretFile,
                 "a pre-shared key needs at least " + std::to_string(kSecretBytesMin) + " bytes");
  return secret;
}

Result<KeyPair> parse_key_pair(ByteView content) {
  content = without_line_end(content);
  const auto middle = std::ranges::find(content, uint8_t{'\n'});
  const auto first = content.first(static_cast<size_t>(middle - content.begin()));
  TRY_ASSIGN(Secret encryption, parse_hex_key(without_line_end(first)), "first line");
  const auto rest = middle == content.end() ? ByteView() : content.subspan(first.size() + 1);
  TRY_ASSIGN(Secret integrity, parse_hex_key(rest), "second line");
  return KeyPair{std::move(encryption), std::move(integrity)};
}

std::vector<std::string> unusual_in(ByteView content) {
  constexpr std::string_view kMark = "\xef\xbb\xbf";
  content = without_line_end(content);
  std::vector<std::string> found;
  if (as_text(content).starts_with(kMark)) {
    found.emplace_back("begins with a byte order mark (UTF-8)");
    content = content.subspan(kMark.size());
  }
  if (content.empty()) return found;
  if (is_blank(content.front())) found.emplace_back("begins with a blank");
  if (is_blank(content.back())) found.emplace_back("ends with a blank");
  if (content.size() > 1 && content.front() == content.back() && (content.front() == '"' || content.front() == '\''))
    found.emplace_back("has quotes around it");
  if (std::ranges::find(content, uint8_t{0}) != content.end()) found.emplace_back("holds a NUL byte");
  if (content.size() > 2 && as_text(content).starts_with("0s") && std::ranges::all_of(content.subspan(2), is_base64))
    found.emplace_back("begins with 0s, which is not read as base64 here");
  return found;
}

std::shared_ptr<const Credentials> Credentials::load(const policy::Config& config, const std::string& secrets_dir) {
  auto loaded = std::make_shared<Credentials>();
  for (const auto& [name, credential] : config.credentials) {
    std::vector<std::string> unusual;
    if (Status done = loaded->load(*credential, secrets_dir, unusual); !done.ok())
      loaded->errors_.emplace(name, std::move(done).error());
    else if (!unusual.empty())
      loaded->unusual_.emplace(name, std::move(unusual));
  }
  return loaded;
}

Status Credentials::load(const policy::Credential& credential, const std::string& secrets_dir,
                         std::vector<std::string>& unusual) {
  if (credential.is_manual()) {
    TRY_ASSIGN(KeyPair in, load_secret(credential.in_file, secrets_dir, &parse_key_pair, unusual), "in");
    TRY_ASSIGN(KeyPair out, load_secret(credential.out_file, secrets_dir, &parse_key_pair, unusual), "out");
    manual_.emplace(credential.name, std::pair(std::move(in), std::move(out)));
    return {};
  }
  TRY_ASSIGN(Secret psk, load_secret(credential.psk_file, secrets_dir, &parse_psk, unusual), "");
  psks_.emplace(credential.name, std::move(psk));
  return {};
}

bool Credentials::has(const std::string& credential) const {
  return psks_.contains(credential) || manual_.contains(credential);
}

bool Credentials::differs(const Credentials& other, const std::string& credential) const {
  const auto same = [](const KeyPair& a, const KeyPair& b) {
    return a.encryption.equals(b.encryption.expose()) && a.integrity.equals(b.integrity.expose());
  };
  const Secret *ours = psk(credential), *theirs = other.psk(credential);
  if (ours != nullptr || theirs != nullptr)
    return ours == nullptr || theirs == nullptr || !ours->equals(theirs->expose());
  const auto mine = manual_.find(credential), its = other.manual_.find(credential);
  if (mine == manual_.end() || its == other.manual_.end()) return has(credential) != other.has(credential);
  return !same(mine->second.first, its->second.first) || !same(mine->second.second, its->second.second);
}

Result<policy::ManualKeys> Credentials::manual_keys(const policy::ChildConfig& child) const {
  const std::string& name = child.manual->credential->name;
  const auto it = manual_.find(name);
  if (it == manual_.end()) {
    const auto error = errors_.find(name);
    return error != errors_.end() ? error->second : Error(Reason::kConfigSecretFile, "credential " + name);
  }
  TRY_ASSIGN(const policy::EspSuite suite, policy::manual_suite(*child.policy), "");
  TRY_ASSIGN(policy::ChildKeys in, join(it->second.first, suite),
             "credential " + name + ", in (" + child.manual->credential->in_file + ")");
  TRY_ASSIGN(policy::ChildKeys out, join(it->second.second, suite),
             "credential " + name + ", out (" + child.manual->credential->out_file + ")");
  return policy::ManualKeys{std::move(in), std::move(out)};
}

const Secret* Credentials::psk(const std::string& credential) const {
  auto it = psks_.find(credential);
  return it == psks_.end() ? nullptr : &it->second;
}

}  // namespace ipsec::agent
