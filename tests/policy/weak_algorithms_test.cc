#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "policy/config_keys.h"
#include "tests/policy/config_support.h"

using namespace ipsec;
using namespace ipsec::policy;

namespace {

/// A proposal around one algorithm, otherwise strong.
std::string around(const Algorithm& each, Protocol protocol) {
  const std::string name(each.name), rest = protocol == Protocol::kIke ? "-prfsha256-x25519" : "";
  switch (each.type) {
    case TransformType::kEncryption: return name + (each.aead ? "" : "-sha256") + rest;
    case TransformType::kPrf: return "aes256-sha256-" + name + "-x25519";
    case TransformType::kIntegrity: return "aes256-" + name + rest;
    case TransformType::kKeyExchange:
      return protocol == Protocol::kIke ? "aes256-sha256-prfsha256-" + name : "aes256-sha256-" + name;
    case TransformType::kEsn: break;
  }
  return "aes256-sha256-" + name;
}

Error refused(Protocol protocol, std::string_view text, std::vector<std::string> allowed = {}) {
  auto parsed = parse_proposal(protocol, text, allowed);
  REQUIRE_MESSAGE(!parsed.ok(), std::string(text));
  return std::move(parsed).error();
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::string with(const std::string& defaults, const std::string& ike, const std::string& child) {
  Document document{
      .top = R"(, "defaults": )" + defaults, .ike_policy = R"(, "proposals": [")" + ike + "\"]", .child_policy = child};
  std::string text = document.text();
  const std::string off = "\"pfs\": false";
  return text.replace(text.find(off), off.size(), "\"lifetime\": \"1h\"");
}

}  // namespace

TEST_CASE("weak: each is refused with its RFC and a strong one in its place, and taken when it is named") {
  std::set<std::string_view> seen;
  for (const Algorithm& each : all_algorithms())
    for (const Protocol protocol : {Protocol::kIke, Protocol::kEsp}) {
      if (protocol == Protocol::kIke ? !each.ike : !each.esp) continue;
      CAPTURE(each.name);
      const std::string text = around(each, protocol);
      if (!each.weak()) {
        CHECK(parse_proposal(protocol, text).ok());
        continue;
      }
      seen.insert(each.name);
      const Error error = refused(protocol, text);
      CHECK(error.reason() == Reason::kConfigWeak);
      CHECK(has(error.detail(), "\"" + std::string(each.name) + "\" is weak"));
      CHECK(has(error.detail(), "RFC 82"));
      CHECK(has(error.detail(), "; use " + std::string(strong_one_for(each))));
      CHECK(has(error.detail(), "\"allow_weak\": [\"" + std::string(each.name) + "\"]"));
      CHECK_FALSE(find_algorithm(strong_one_for(each))->weak());
      CHECK(find_algorithm(strong_one_for(each))->type == each.type);
      CHECK(parse_proposal(protocol, text, std::vector{std::string(each.name)}).ok());
    }
  CHECK(seen == std::set<std::string_view>{"3des", "sha1", "prfsha1", "modp1024", "modp1536", "aesxcbc", "prfaesxcbc",
                                           "null", "aes128gcm8", "aes192gcm8", "aes256gcm8", "aes128gcm12",
                                           "aes192gcm12", "aes256gcm12"});
}

TEST_CASE("weak: what is never used is refused as such, also as an exception") {
  for (const char* name : {"des", "md5", "prfmd5", "modp768"}) {
    CAPTURE(name);
    const Error error = refused(Protocol::kIke, std::string("aes256-sha256-x25519-") + name, {name});
    CHECK(error.reason() == Reason::kConfigBadValue);
    CHECK(has(error.detail(), "is never used"));
    CHECK(has(error.detail(), "MUST NOT"));
    CHECK_FALSE(has(error.detail(), "allow_weak"));
    const ConfigError listed =
        only_error(Document{.top = R"(, "defaults": { "allow_weak": [")" + std::string(name) + R"("] })"}.text());
    CHECK(listed.pointer == "/defaults/allow_weak");
    CHECK(has(listed.allowed, "never used"));
  }
}

TEST_CASE("weak: the list of exceptions holds weak algorithms only") {
  const ConfigError strong = only_error(Document{.top = R"(, "defaults": { "allow_weak": ["modp2048"] })"}.text());
  CHECK(has(strong.allowed, "is not weak"));
  const ConfigError unknown = only_error(Document{.top = R"(, "defaults": { "allow_weak": ["sha-1"] })"}.text());
  CHECK(has(unknown.allowed, "names of weak algorithms: "));
  CHECK(has(unknown.allowed, "modp1024"));
}

TEST_CASE("weak: a PRF that follows from its integrity algorithm needs its own exception") {
  const Error error = refused(Protocol::kIke, "aes128-sha1-modp1024", {"sha1", "modp1024"});
  CHECK(has(error.detail(), "\"prfsha1\", which follows from sha1, is weak"));
  const auto whole =
      parse_proposal(Protocol::kIke, "aes128-sha1-modp1024", std::vector<std::string>{"sha1", "modp1024", "prfsha1"});
  CHECK(to_string(*whole) == "aes128-sha1-modp1024-prfsha1");
  const auto xcbc =
      parse_proposal(Protocol::kIke, "aes128-aesxcbc-x25519", std::vector<std::string>{"aesxcbc", "prfaesxcbc"});
  CHECK(to_string(*xcbc) == "aes128-aesxcbc-x25519-prfaesxcbc");
}

TEST_CASE("weak: NULL protects nothing without integrity, and never IKE") {
  const std::vector<std::string> allowed{"null"};
  CHECK(has(refused(Protocol::kEsp, "null", allowed).detail(), "integrity"));
  CHECK(has(refused(Protocol::kIke, "null-sha256-x25519", allowed).detail(), "cannot be used for IKE"));
  const auto parsed = parse_proposal(Protocol::kEsp, "null-sha256", allowed);
  REQUIRE(parsed.ok());
  CHECK(parsed->front().first(TransformType::kEncryption)->key_bits == 0);
}

TEST_CASE("proposal: every wrong word is named at once, with the nearest or our word for it") {
  const Error error = refused(Protocol::kIke, "aes256gcm-sha2_256-prfsha266-curve25519-3des");
  CHECK(error.reason() == Reason::kConfigBadValue);
  CHECK(has(error.detail(), "\"aes256gcm\" is called \"aes256gcm16\" here"));
  CHECK(has(error.detail(), "\"sha2_256\" is called \"sha256\" here"));
  CHECK(has(error.detail(), "\"prfsha266\" is not a known algorithm, did you mean \"prfsha256\"?"));
  CHECK(has(error.detail(), "\"curve25519\" is called \"x25519\" here"));
  CHECK(has(error.detail(), "\"3des\" is weak"));
  const Error odd = refused(Protocol::kEsp, "serpentine");
  CHECK(has(odd.detail(), "; ciphers: aes256gcm16 aes128gcm16 "));
  CHECK_FALSE(has(odd.detail(), "PRFs"));
  std::string many;
  for (int i = 0; i < 200; ++i) many += "x-";
  CHECK(refused(Protocol::kIke, many).detail().size() < 2000);
  for (const char* word : {"aes", "sha", "dh14", "des3", "aes_gcm256"})
    CHECK(find_algorithm(our_name_of(word)) != nullptr);
}

TEST_CASE("weak: the words of a suite that are weak are found in its text") {
  CHECK(weak_words("aes128-sha1-modp1024-prfsha1") == std::vector<std::string>{"sha1", "modp1024", "prfsha1"});
  CHECK(weak_words("3des-sha1-esn") == std::vector<std::string>{"3des", "sha1"});
  CHECK(weak_words("aes256gcm16-prfsha384-x25519").empty());
  CHECK(weak_words("").empty());
}

TEST_CASE("algorithms: what the kernel shows of an SA tells them apart, and each has its sizes") {
  std::set<std::tuple<TransformType, std::string_view, int, int>> shown;
  for (const Algorithm& each : all_algorithms()) {
    CAPTURE(each.name);
    CHECK(find_algorithm(each.type, each.id, each.key_bits) == &each);
    if (each.kernel_name.empty()) continue;
    CHECK(shown.emplace(each.type, each.kernel_name, each.key_bytes + each.salt_bytes, each.icv_bytes).second);
  }
  const EspSuite triple{.encryption = kEncr3Des, .integrity = kAuthHmacSha1_96};
  CHECK(triple.key_material_bytes() == 24 + 20);
  const EspSuite none{.encryption = kEncrNull, .integrity = kAuthAesXcbc_96};
  CHECK(none.key_material_bytes() == 16);
  CHECK(to_string(none) == "null-aesxcbc");
}

TEST_CASE("schema: proposals and exceptions list the algorithms") {
  const auto schema = nlohmann::json::parse(config_schema());
  const auto& top = schema["properties"];
  const auto& ike = top["ike_policies"]["additionalProperties"]["properties"]["proposals"]["items"];
  const auto& esp = top["child_policies"]["additionalProperties"]["properties"]["proposals"]["items"];
  CHECK(has(ike["pattern"], "prfsha384"));
  CHECK(has(ike["description"], "only if defaults.allow_weak names them: "));
  CHECK_FALSE(has(esp["pattern"], "prfsha384"));
  CHECK(has(esp["pattern"], "|null|"));
  const auto& weak = top["defaults"]["properties"]["allow_weak"]["items"]["enum"];
  for (const auto& each : weak) CHECK(find_algorithm(each.get<std::string>())->weak());
  CHECK(weak.size() == 14);
}

TEST_CASE("require_pfs: a child proposal without a group, and pfs false, are errors; without proposals PFS is on") {
  const std::string strong = "aes256gcm16-prfsha384-x25519";
  const std::string required = R"({ "require_pfs": true })";
  const ConfigError bare = only_error(with(required, strong, R"(, "proposals": ["aes256gcm16"])"));
  CHECK(bare.reason == Reason::kConfigConflict);
  CHECK(bare.pointer == "/child_policies/fast/proposals");
  CHECK(has(bare.text(), "defaults.require_pfs"));
  const ConfigError off = only_error(with(required, strong, R"(, "pfs": false)"));
  CHECK(off.pointer == "/child_policies/fast/pfs");
  for (const char* good :
       {R"(, "proposals": ["aes256gcm16-x25519"])", R"(, "proposals": ["aes256gcm16"], "pfs": true)", ""}) {
    CAPTURE(good);
    const ConfigOutcome outcome = parse_one(with(required, strong, good));
    REQUIRE(outcome.config);
    const ChildPolicy& policy = *outcome.config->tunnels.at("a")->child("lan")->policy;
    CHECK(policy.pfs);
    CHECK(policy.pfs_required);
    CHECK(policy.proposals.front().has(TransformType::kKeyExchange));
  }
  const ConfigOutcome usual = parse_one(with(R"({ "require_pfs": false })", strong, ""));
  REQUIRE(usual.config);
  CHECK_FALSE(usual.config->tunnels.at("a")->child("lan")->policy->pfs_required);
}

TEST_CASE("choose as offered: what the peer prefers comes first, then the strongest") {
  const auto parse = [](std::string_view text) { return parse_proposal(Protocol::kIke, text).value(); };
  std::vector<Proposal> both = parse("aes128-sha256-modp2048");
  for (const Proposal& each : parse("aes256gcm16-prfsha384-ecp384")) both.push_back(each);
  std::vector<Proposal> offered = parse("aes256gcm16-prfsha384-ecp384");
  for (const Proposal& each : parse("aes128-sha256-modp2048")) offered.push_back(each);

  const auto chosen = choose_as_offered(both, offered, KeyExchangeUse::kRequired);
  REQUIRE(chosen);
  CHECK(chosen->offered_index == 0);
  CHECK(to_string(chosen->chosen) == "aes256gcm16-prfsha384-ecp384");

  std::ranges::reverse(offered);
  CHECK(to_string(choose_as_offered(both, offered, KeyExchangeUse::kRequired)->chosen) ==
        "aes128-prfsha256-sha256-modp2048");

  // One offer of everything does not say what is preferred.
  const auto all = parse("aes128-aes256-sha256-sha384-prfsha256-prfsha384-modp2048-ecp384");
  std::vector<Proposal> two = parse("aes128-sha256-modp2048");
  two.push_back(parse("aes256-sha384-ecp384").front());
  CHECK(to_string(choose_as_offered(two, all, KeyExchangeUse::kRequired)->chosen) == "aes256-prfsha384-sha384-ecp384");
  CHECK_FALSE(choose_as_offered(two, parse("aes256gcm16-prfsha512-x448"), KeyExchangeUse::kRequired));
}
