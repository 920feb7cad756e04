#include "agent/secret_files.h"

#include "agent/limits.h"
#include "tests/agent/temp_folder.h"

// Which files of secrets are read, and what is said of the others.

using namespace ipsec;
using namespace ipsec::agent;
using testing::TempFolder;

namespace {

std::string refusal(const std::string& path) {
  const auto secret = read_secret_file(path);
  REQUIRE_FALSE(secret.ok());
  CHECK(secret.error().reason() == Reason::kConfigSecretFile);
  return secret.error().text();
}

bool reads(const std::string& path, std::string_view content) {
  const auto secret = read_secret_file(path);
  if (!secret.ok()) MESSAGE(secret.error().text());
  return secret.ok() && as_text(secret->expose()) == content;
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("secret files: a closed regular file is read") {
  const TempFolder folder;
  CHECK(reads(folder.write("key", "12345678\n"), "12345678\n"));
  CHECK(reads(folder / "./../" + std::filesystem::path(folder.path).filename().string() + "/key", "12345678\n"));
}

TEST_CASE("secret files: links are followed, those of container platforms too") {
  const TempFolder folder;
  folder.write("..2026_12_01/key", "12345678");
  std::filesystem::create_symlink("..2026_12_01", folder / "..data");
  std::filesystem::create_symlink("..data/key", folder / "key");
  std::filesystem::create_symlink(folder / "key", folder / "other");
  CHECK(reads(folder / "key", "12345678"));
  CHECK(reads(folder / "other", "12345678"));
}

TEST_CASE("secret files: what others may read, or have put there, is refused with what to do") {
  const TempFolder folder;
  CHECK(has(refusal(folder.write("open", "12345678", 0640)), "may be read by others: chmod 600 " + folder / "open"));
  if (geteuid() != 0) return;  // only root gives files away
  REQUIRE(chown(folder.write("foreign", "12345678").c_str(), 4711, 0) == 0);
  CHECK(has(refusal(folder / "foreign"), "belongs to user 4711"));
  std::filesystem::create_symlink("open", folder / "link");
  REQUIRE(lchown((folder / "link").c_str(), 4711, 0) == 0);
  CHECK(has(refusal(folder / "link"), "link belongs to user 4711"));
  folder.write("theirs/key", "12345678");
  REQUIRE(chown((folder / "theirs").c_str(), 4711, 0) == 0);
  CHECK(has(refusal(folder / "theirs/key"), "theirs belongs to user 4711"));
}

TEST_CASE("secret files: a folder that others may write to is refused, unless they remove only what is theirs") {
  const TempFolder folder;
  const std::string key = folder.write("open/key", "12345678");
  REQUIRE(chmod((folder / "open").c_str(), 0777) == 0);
  CHECK(has(refusal(key), "open may be written to by other users"));
  std::filesystem::create_symlink("open/key", folder / "link");
  CHECK(has(refusal(folder / "link"), "open may be written to by other users"));
  REQUIRE(chmod((folder / "open").c_str(), 01777) == 0);
  CHECK(reads(key, "12345678"));
}

TEST_CASE("secret files: nothing but a regular file is opened for reading, so that nothing waits") {
  const TempFolder folder;
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(has(refusal(folder / "pipe"), "not a regular file"));
  std::filesystem::create_symlink("/dev/zero", folder / "device");
  CHECK(has(refusal(folder / "device"), "not a regular file"));
  std::filesystem::create_directory(folder / "folder");
  CHECK(has(refusal(folder / "folder"), "a folder, not a file"));
  CHECK(has(refusal(folder / "folder/.."), "is a folder"));
}

TEST_CASE("secret files: a loop of links ends, and a file that is too large is refused") {
  const TempFolder folder;
  std::filesystem::create_symlink("b", folder / "a");
  std::filesystem::create_symlink("a", folder / "b");
  CHECK(has(refusal(folder / "a"), "links on the way"));
  CHECK(has(refusal(folder.write("large", std::string(kSecretFileBytesMax + 1, 'x'))), "more than 4096 bytes"));
  CHECK(reads(folder.write("full", std::string(kSecretFileBytesMax, 'x')), std::string(kSecretFileBytesMax, 'x')));
}

TEST_CASE("secret files: a name that does not exist is not shown, for it may be the key itself") {
  const TempFolder folder;
  const std::string text = refusal(folder / "correct horse battery staple");
  CHECK(has(text, folder.path));
  CHECK(has(text, "No such file"));
  CHECK_FALSE(has(text, "horse"));
  CHECK_FALSE(has(refusal("/aKeyInBase64/withASlash=="), "aKeyInBase64"));
  folder.write("real/key", "12345678");
  CHECK_FALSE(has(refusal(folder / "real/key/horse"), "horse"));
}
