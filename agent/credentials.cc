#include "agent/credentials.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

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
  auto secret = size > static_cast<ssize_t>(kSecretFileBytesMax)
                    ? Result<Secret>(Error(Reason::kConfigSecretFile, "more than 4096 bytes"))
                    : parse_psk(ByteView(buffer).first(static_cast<size_t>(size)));
  wipe(buffer);
  if (!secret.ok()) return std::move(secret).error().context(path);
  return secret;
}

Result<Secret> find_secret(const std::string& name, const std::string& secrets_dir) {
  if (name.starts_with("/")) return read_secret_file(name);
  const std::string own = secrets_dir + "/" + name;
  const char* service_dir = std::getenv("CREDENTIALS_DIRECTORY");
  if (access(own.c_str(), F_OK) != 0 && service_dir != nullptr)
    return read_secret_file(std::string(service_dir) + "/" + name);
  return read_secret_file(own);
}

}  // namespace

Result<Secret> parse_psk(ByteView content) {
  while (!content.empty() && (content.back() == '\n' || content.back() == '\r'))
    content = content.first(content.size() - 1);
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

std::shared_ptr<const Credentials> Credentials::load(const policy::Config& config, const std::string& secrets_dir) {
  auto loaded = std::make_shared<Credentials>();
  for (const auto& [name, credential] : config.credentials) {
    auto secret = find_secret(credential->psk_file, secrets_dir);
    if (secret.ok())
      loaded->psks_.emplace(name, std::move(*secret));
    else
      loaded->errors_.emplace(name, std::move(secret).error());
  }
  return loaded;
}

const Secret* Credentials::psk(const std::string& credential) const {
  auto it = psks_.find(credential);
  return it == psks_.end() ? nullptr : &it->second;
}

}  // namespace ipsec::agent
