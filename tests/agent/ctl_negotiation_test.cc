#include <doctest/doctest.h>

#include "agent/ctl/render.h"

using namespace ipsec::agent::ctl;
using nlohmann::json;

namespace {

const json kRefused = json::parse(R"({
  "time": "2026-11-21T05:13:50.123Z", "tunnel": "branch-7", "child": "lan", "local": "192.0.2.1[500]",
  "remote": "198.51.100.7[500]", "identity": "branch-7.example.net", "code": "no-proposal-chosen",
  "text": "no proposal of the peer matches the configured ones", "remedy": "Add one.",
  "fields": {"detail": "offered aes128gcm16-noesn"}, "count": 3, "resolved_at": null, "offered_by": "peer",
  "rows": [{"what": "encryption", "offered": "aes128gcm16", "configured": "aes256gcm16", "verdict": "differs"},
           {"what": "key exchange", "offered": "x448", "configured": "x25519", "verdict": "differs"},
           {"what": "sequence numbers", "offered": "noesn", "configured": "noesn", "verdict": "matches"}],
  "first_mismatch": 0, "pointer": "/child_policies/strong/proposals/0", "file": "/etc/ipsecd/ipsecd.json", "line": 12,
  "advice": "write \"aes128gcm16\" into the list of proposals"})");

}  // namespace

TEST_CASE("text: a failed negotiation side by side, with the first difference and the line to change") {
  CHECK(render_negotiations(json::array({kRefused}), Color::kOff) ==
        "Tunnel branch-7, child lan\n"
        "  peer         198.51.100.7[500] to 192.0.2.1[500]\n"
        "  identity     branch-7.example.net\n"
        "  failed       2026-11-21T05:13:50.123Z, 3 times in all\n"
        "  reason       no-proposal-chosen: no proposal of the peer matches the configured ones\n"
        "  detail       offered aes128gcm16-noesn\n"
        "\n"
        "                  OFFERED BY THE PEER  CONFIGURED HERE  VERDICT\n"
        "encryption        aes128gcm16          aes256gcm16      differs  <-- the first difference\n"
        "key exchange      x448                 x25519           differs\n"
        "sequence numbers  noesn                noesn            matches\n"
        "\n"
        "  where        /etc/ipsecd/ipsecd.json:12: /child_policies/strong/proposals/0\n"
        "  what to do   write \"aes128gcm16\" into the list of proposals\n");
}

TEST_CASE("text: an offer of ours that was refused has no other side to show") {
  json ours = kRefused;
  ours["offered_by"] = "us";
  ours["count"] = 1;
  ours["resolved_at"] = "2026-11-21T06:00:00.000Z";
  ours["rows"] = json::parse(R"([{"what": "proposal", "offered": "aes256gcm16-noesn", "configured": null,
                                  "verdict": "unknown"}])");
  ours["first_mismatch"] = nullptr;
  ours["line"] = nullptr;

  CHECK(render_negotiations(json::array({ours}), Color::kOff) ==
        "Tunnel branch-7, child lan\n"
        "  peer         198.51.100.7[500] to 192.0.2.1[500]\n"
        "  identity     branch-7.example.net\n"
        "  failed       2026-11-21T05:13:50.123Z\n"
        "  came up      2026-11-21T06:00:00.000Z\n"
        "  reason       no-proposal-chosen: no proposal of the peer matches the configured ones\n"
        "  detail       offered aes128gcm16-noesn\n"
        "\n"
        "          OFFERED BY US      THE PEER'S SIDE  VERDICT\n"
        "proposal  aes256gcm16-noesn  not known        unknown\n"
        "\n"
        "  where        /child_policies/strong/proposals/0\n"
        "  what to do   write \"aes128gcm16\" into the list of proposals\n");
}

TEST_CASE("text: the list of failed negotiations has a line for each") {
  CHECK(render_negotiation_list(json::array(), Color::kOff) == "No failed negotiation.\n");
  CHECK(render_negotiation_list(json::array({kRefused}), Color::kOff) ==
        "TIME                      TUNNEL    PEER               IDENTITY              TIMES  CAME UP SINCE  REASON\n"
        "2026-11-21T05:13:50.123Z  branch-7  198.51.100.7[500]  branch-7.example.net  3      no             "
        "no-proposal-chosen\n"
        "`ipsecctl explain negotiation PEER` compares both sides of one.\n");
}

TEST_CASE("text: whatever an explanation lacks or holds, it is rendered, and nothing moves the cursor") {
  CHECK(render_negotiations(json(), Color::kOff) == "No failed negotiation.\n");
  CHECK(render_negotiations(json::parse(R"([{}])"), Color::kOn).find("unknown") != std::string::npos);
  CHECK(render_negotiations(json::parse(R"([1, null, "x", []])"), Color::kOff).find("No tunnel") == 0);
  json hostile = kRefused;
  for (const char* key : {"identity", "advice", "pointer", "file", "tunnel"}) hostile[key] = "x\x1b[2J\n";
  hostile["rows"][0]["offered"] = "\x1b[31m";
  hostile["fields"]["detail"] = "\x07";
  const std::string text = render_negotiations(json::array({hostile}), Color::kOff);
  for (const char each : {'\x1b', '\x07'}) CHECK(text.find(each) == std::string::npos);
}
