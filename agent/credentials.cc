#include "agent/credentials.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <tuple>

#include "agent/limits.h"
#include "netlink/unique_fd.h"

namespace ipsec::agent {
namespace {

Result<Secret> read_secret_file(const std::string& path) {
  const netlink::UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file.valid()) return Error(Reason::kConfigSecretFile, path, errno);
  struct stat about {};
  if (fstat(file.get(), &about) != 0) return Error(Reason::kConfigSecretFile, path, errno);
  if (!S_ISREG(about.st_mode)) return Error(Reason::kConfigSecretFile, path + " is not a regular file");
  if ((about.st_mode & 077) != 0)
    return Error(Reason::kConfigSecretFile, path + " may be read by others: chmod 600 " + path);
  if (about.st_uid != 0 && about.st_uid != geteuid())
    return Error(Reason::kConfigSecretFile, path + " belongs to another user: chown root " + path);
  std::array<uint8_t, kSecretFileBytesMax + 1> buffer{};
  const ssize_t size = read(file.get(), buffer.data(), buffer.size());
  if (size < 0) return Error(Reason::kConfigSecretFile, path, errno);
  auto content = size > static_cast<ssize_t>(kSecretFileBytesMax)
                     ? Result<Secret>(Error(Reason::kConfigSecretFile, path + ": more than 4096 bytes"))
                     : Result<Secret>(Secret::copy_of(ByteView(buffer).first(static_cast<size_t>(size))));
  wipe(buffer);
  return content;
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
Result<T> load_secret(const std::string& name, const std::string& secrets_dir, Result<T> (*parse)(ByteView)) {
  const std::string path = find_file(name, secrets_dir);
  TRY_ASSIGN(const Secret content, read_secret_file(path), "");
  Result<T> parsed = parse(content.expose());
  if (!parsed.ok()) return std::move(parsed).error().context(path);
  return parsed;
}

Result<Secret> parse_hex_key(ByteView line) {
  const Error bad(Reason::kConfigSecretFile,
                  "two lines are wanted: 0x and the encryption key in hexadecimal digits, 0x and the integrity key");
  if (line.size() < 3 || line[0] != '0' || (line[1] != 'x' && line[1] != 'X')) return bad;
  auto bytes = from_hex(as_text(line.subspan(2)));
  if (!bytes.ok()) return bad;
  Secret key = Secret::copy_of(*bytes);
  wipe(*bytes);
  return key;
}

ByteView without_line_end(ByteView content) {
  while (!content.empty() && (content.back() == '\n' || content.back() == '\r'))
    content = content.first(content.size() - 1);
  return content;
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
    return Error(Reason::kConfigSecretFile, "a pre-shared key needs at least 8 bytes");
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

std::shared_ptr<const Credentials> Credentials::load(const policy::Config& config, const std::string& secrets_dir) {
  auto loaded = std::make_shared<Credentials>();
  for (const auto& [name, credential] : config.credentials)
    if (Status done = loaded->load(*credential, secrets_dir); !done.ok())
      loaded->errors_.emplace(name, std::move(done).error());
  return loaded;
}

Status Credentials::load(const policy::Credential& credential, const std::string& secrets_dir) {
  if (credential.is_manual()) {
    TRY_ASSIGN(KeyPair in, load_secret(credential.in_file, secrets_dir, &parse_key_pair), "in");
    TRY_ASSIGN(KeyPair out, load_secret(credential.out_file, secrets_dir, &parse_key_pair), "out");
    manual_.emplace(credential.name, std::pair(std::move(in), std::move(out)));
    return {};
  }
  TRY_ASSIGN(Secret psk, load_secret(credential.psk_file, secrets_dir, &parse_psk), "");
  psks_.emplace(credential.name, std::move(psk));
  return {};
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
