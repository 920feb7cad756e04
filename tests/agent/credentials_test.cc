#include "agent/credentials.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::agent;

namespace {

const std::string kTwoKeys = "0x00112233445566778899aabbccddeeff\n0x" + std::string(64, '5') + "\n";

/// A folder of secrets with one file.
struct Folder {
  explicit Folder(const std::string& content, mode_t mode = 0600) {
    std::ofstream(path + "/keys") << content;
    chmod((path + "/keys").c_str(), mode);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  /// The keys of a child with manual keys and this suite, both directions from the file.
  Result<policy::ManualKeys> keys(const std::string& suite) const {
    policy::Config config;
    const auto credential = std::make_shared<policy::Credential>(
        policy::Credential{.name = "static", .psk_file = {}, .in_file = "keys", .out_file = "keys"});
    config.credentials.emplace("static", credential);
    auto child_policy = std::make_shared<policy::ChildPolicy>();
    child_policy->proposals = policy::parse_proposal(policy::Protocol::kEsp, suite).value();
    policy::ChildConfig child{.name = "lan", .policy = child_policy};
    child.manual = policy::ManualSas{.spi_in = 300, .spi_out = 301, .credential = credential};
    return Credentials::load(config, path)->manual_keys(child);
  }
  std::string path = std::filesystem::temp_directory_path() / ("credentials_test." + std::to_string(getpid()));
  bool made = std::filesystem::create_directories(path);
};

std::string key_of(std::string_view content) {
  auto secret = parse_psk(as_bytes(content));
  REQUIRE(secret.ok());
  return std::string(as_text(secret->expose()));
}

}  // namespace

TEST_CASE("credentials: text is the key as it stands, without its line's end and without a terminator") {
  LEDGER("2.15-01");
  for (size_t size : {size_t{8}, size_t{64}, size_t{200}}) {
    const std::string text(size, 'k');
    CHECK(key_of(text) == text);
    CHECK(key_of(text + "\r\n") == text);
  }
}

TEST_CASE("credentials: after 0x stand hexadecimal digits of any bytes") {
  LEDGER("2.15-02");
  CHECK(key_of("0x00010203fffefd00") == std::string("\0\1\2\3\xff\xfe\xfd\0", 8));
  CHECK_FALSE(parse_psk(as_bytes("0x0001020304050607zz")).ok());
}

TEST_CASE("credentials: a key of less than eight bytes, or of two lines, is refused") {
  CHECK_FALSE(parse_psk(as_bytes("short")).ok());
  CHECK_FALSE(parse_psk(as_bytes("first line\nsecond line")).ok());
}

TEST_CASE("credentials: a file with manual keys holds two lines of hexadecimal digits") {
  const auto pair = parse_key_pair(as_bytes(kTwoKeys));
  REQUIRE(pair.ok());
  CHECK(to_hex(pair->encryption.expose()) == "00112233445566778899aabbccddeeff");
  CHECK(to_hex(pair->integrity.expose()) == std::string(64, '5'));
  CHECK(parse_key_pair(as_bytes("0x00\r\n0x01\r\n")).ok());
  for (const char* bad : {"", "0x00", "0x00\n", "00\n01", "0x00\n0x0z", "0x00\n0x01\n0x02", "0x\n0x", "0x0\n0x01"})
    CHECK_FALSE_MESSAGE(parse_key_pair(as_bytes(bad)).ok(), bad);
}

TEST_CASE("credentials: manual keys are as long as their algorithms need, and in the order that the kernel wants") {
  const Folder folder(kTwoKeys);
  const auto keys = folder.keys("aes128-sha256");
  REQUIRE(keys.ok());
  CHECK(to_hex(keys->in.material.expose()) == "00112233445566778899aabbccddeeff" + std::string(64, '5'));
  CHECK(keys->in.material.equals(keys->out.material.expose()));
  const auto other_cipher = folder.keys("aes256-sha256"), other_hmac = folder.keys("aes128-sha512");
  REQUIRE_FALSE(other_cipher.ok());
  REQUIRE_FALSE(other_hmac.ok());
  CHECK(other_cipher.error().reason() == Reason::kConfigSecretFile);
  CHECK(other_cipher.error().text().find("the encryption key has 16 bytes, aes256 needs 32") != std::string::npos);
  CHECK(other_hmac.error().text().find("the integrity key has 32 bytes, sha512 needs 64") != std::string::npos);
}

TEST_CASE("credentials: a file with manual keys that others may read is refused") {
  const Folder folder(kTwoKeys, 0640);
  const auto keys = folder.keys("aes128-sha256");
  REQUIRE_FALSE(keys.ok());
  CHECK(keys.error().text().find("may be read by others") != std::string::npos);
}
