#include <array>

#include "policy/config_rules.h"
#include "tests/policy/config_support.h"

using namespace ipsec;
using namespace ipsec::policy;

namespace {

struct Form {
  const char* text;
  IdType type;
  const char* shown;
};

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("identity: the forms of other programs are understood") {
  for (const Form& each : {Form{"@gw.example.net", IdType::kFqdn, "gw.example.net"},
                           {"fqdn:gw.example.net", IdType::kFqdn, "gw.example.net"},
                           {"dns:vpn.example", IdType::kFqdn, "vpn.example"},
                           {"fqdn:any", IdType::kFqdn, "any"},
                           {"fqdn:192.0.2.300", IdType::kFqdn, "192.0.2.300"},
                           {"fqdn:odd:name", IdType::kFqdn, "odd:name"},
                           {"email:foo@bar.example", IdType::kRfc822, "foo@bar.example"},
                           {"rfc822:a@b", IdType::kRfc822, "a@b"},
                           {"userfqdn:a@b", IdType::kRfc822, "a@b"},
                           {"@@a@b", IdType::kRfc822, "a@b"},
                           {"a@b.example", IdType::kRfc822, "a@b.example"},
                           {"ipv4:192.0.2.1", IdType::kIpv4, "192.0.2.1"},
                           {"ipv6:2001:db8::1", IdType::kIpv6, "2001:db8::1"},
                           {"2001:db8::1", IdType::kIpv6, "2001:db8::1"},
                           {"@#6b6579", IdType::kKeyId, "keyid:6b6579"},
                           {"keyid:0x6272", IdType::kKeyId, "keyid:6272"},
                           {"keyid-text:br anch", IdType::kKeyId, "keyid:627220616e6368"}}) {
    CAPTURE(each.text);
    const auto identity = Identity::parse(each.text);
    REQUIRE_MESSAGE(identity.ok(), identity.error().detail());
    CHECK(identity->type == each.type);
    CHECK(to_string(*identity) == each.shown);
  }
}

TEST_CASE("identity: a text that no peer can have as its name is refused with the right form") {
  struct Wrong {
    const char *text, *allowed;
  };
  for (const Wrong& each : {Wrong{"", "keyid:HEX"},
                            {"C=DE,CN=foo", "distinguished names are not supported"},
                            {"asn1dn:C=DE", "distinguished names are not supported"},
                            {"%any", "this is a pattern"},
                            {"%fromcert", "this is a pattern"},
                            {"any", "this is a pattern"},
                            {"*", "this is a pattern"},
                            {"*@example.net", "this is a pattern"},
                            {"fqdn:*.example", "patterns are not supported"},
                            {"@", "a name behind the prefix"},
                            {"user@", "something on both sides"},
                            {"a@b@c", "something on both sides of one @"},
                            {"10.0.0.0/8", "without the length of a prefix"},
                            {"fqdn:", "a name behind the prefix"},
                            {"keyid:", "pairs of hexadecimal digits"},
                            {"keyid:branch", "keyid-text:branch"},
                            {"keyid-text:", "a text behind"},
                            {"m\xc3\xbcnchen.example", "letters of ASCII"},
                            {"192.0.2.300", "looks like an address"},
                            {"2001:db8:::1", "looks like an address"},
                            {"ipv4:2001:db8::1", "an IPv4 address"},
                            {"ipv6:192.0.2.1", "an IPv6 address"},
                            {"ikev2:gw.example", "\"ikev2:\" is no kind of identity here"},
                            {"gw example", "without blanks"}}) {
    CAPTURE(each.text);
    const auto identity = Identity::parse(each.text);
    REQUIRE_FALSE(identity.ok());
    CHECK(has(identity.error().detail(), each.allowed));
    Document document{.tunnel = R"(, "remote_id": ")" + std::string(each.text) + "\""};
    const ConfigError error = only_error(document.text());
    CHECK(error.pointer == "/tunnels/a/remote_id");
  }
}

TEST_CASE("gateway addresses: those that no other machine reaches are refused where they stand, with what they are") {
  struct Wrong {
    const char *text, *what;
  };
  for (const Wrong& each : {Wrong{"127.0.0.1", "loopback"},
                            {"::1", "loopback"},
                            {"169.254.1.1", "link-local"},
                            {"fe80::1", "link-local"},
                            {"0.1.2.3", "network 0"},
                            {"::ffff:192.0.2.9", "in the form of IPv6"},
                            {"224.0.0.1", "multicast"},
                            {"255.255.255.255", "broadcast"},
                            {"ff02::1", "multicast"}}) {
    CAPTURE(each.text);
    const ConfigError remote = only_error(Document{.remote = each.text}.text());
    CHECK(remote.pointer == "/tunnels/a/remote");
    CHECK(has(remote.allowed, each.what));
    std::string text = Document{}.text();
    const std::string second = "\"2001:db8::1\"";
    text.replace(text.find(second), second.size(), "\"" + std::string(each.text) + "\"");
    const ConfigError own = only_error(text);
    CHECK(own.pointer == "/tunnel_groups/core/public/addresses");
    CHECK(has(own.allowed, each.what));
  }
  for (const char* good : {"192.0.2.9", "10.0.0.1", "100.64.0.1", "2001:db8::9", "fd00::1"})
    CHECK(check_gateway(IpAddress::parse(good).value()).ok());
  CHECK(has(only_error(Document{.remote = "%any"}.text()).allowed, "any address is written \"any\" here"));
  CHECK(has(only_error(Document{.remote = "198.51.100.0/24"}.text()).allowed, "no prefix can stand here"));
  CHECK(has(only_error(Document{.remote = "vpn.example"}.text()).allowed, "host names are not looked up"));
}
