#include <doctest/doctest.h>

#include "agent/ctl/columns.h"
#include "agent/ctl/render.h"

using namespace ipsec::agent::ctl;
using ipsec::agent::control::Flag;
using ipsec::agent::control::Reply;
using nlohmann::json;

namespace {

const json kTunnel = {{"name", "branch-7"},
                      {"group", "core"},
                      {"state", "up"},
                      {"keying", "ike"},
                      {"remote", "198.51.100.7"},
                      {"local_id", "gw.example.net"},
                      {"remote_id", "branch-7.example.net"},
                      {"children_up", 1},
                      {"children", 1},
                      {"since", "2026-11-21T05:13:50.123Z"},
                      {"last_reason", "tunnel-up"},
                      {"last_detail", nullptr}};

json sa(const char* direction, const char* spi) {
  return {{"tunnel", "branch-7"},
          {"child", "lan"},
          {"direction", direction},
          {"spi", spi},
          {"source", "198.51.100.7"},
          {"destination", "192.0.2.1"},
          {"suite", "aes256gcm16"},
          {"mode", "tunnel"},
          {"offload_requested", "packet"},
          {"offload_effective", "packet"},
          {"offload_device", "eth1"},
          {"packets", 10},
          {"bytes", nullptr}};
}

}  // namespace

TEST_CASE("text: natural order counts, and ends with a total order") {
  CHECK(natural_less("tunnel-9", "tunnel-10"));
  CHECK_FALSE(natural_less("tunnel-10", "tunnel-9"));
  CHECK(natural_less("10.2.0.0/16", "10.10.0.0/16"));
  CHECK(natural_less("a", "a1"));
  CHECK(natural_less("", "a"));
  CHECK(natural_less("a007", "a7") != natural_less("a7", "a007"));
  CHECK_FALSE(natural_less("a7", "a7"));
}

TEST_CASE("text: values for people") {
  CHECK(cell(json()) == "unknown");
  CHECK(cell(true) == "yes");
  CHECK(cell({"a", "b"}) == "a, b");
  CHECK(cell(json::array()) == "-");
  CHECK(cell("x\x1b[2Jy\n") == "x?[2Jy?");
  CHECK(duration(0) == "0s");
  CHECK(duration(59) == "59s");
  CHECK(duration(90061) == "1d 1h");
  CHECK(duration(3605) == "1h");
  CHECK(duration(json()) == "unknown");
}

TEST_CASE("table: columns are aligned, also with other scripts and colours") {
  Table table({"NAME", "STATE", "END"});
  table.add({"bücher", "up", "x"});
  table.add({"a", "down", "y"});

  CHECK(table.render(Color::kOff) ==
        "NAME    STATE  END\n"
        "bücher  up     x\n"
        "a       down   y\n");
  CHECK(table.render(Color::kOn).find("\x1b[32mup\x1b[0m     x\n") != std::string::npos);
}

TEST_CASE("status: one screen with health, sizes, offload, warnings and what went wrong most") {
  const json status = {{"version", "1.2.3"},
                       {"node_id", 1},
                       {"started_at", "2026-11-21T05:13:50Z"},
                       {"health", "degraded"},
                       {"groups", 2},
                       {"tunnels", {{"up", 3}, {"down", 1}, {"establishing", 0}}},
                       {"ike_sas", 3},
                       {"child_sas", 4},
                       {"half_open", 0},
                       {"offload", {{"packet", 4}, {"crypto", 0}, {"software", 2}}},
                       {"workers", 2},
                       {"warnings", {"device eth9 is missing: check the name and the namespace"}},
                       {"counters", {{"ike-short", 12}, {"tunnel-up", 40}, {"timeout", 0}, {"new-code", 13}}}};

  CHECK(render_status(status, Color::kOff) ==
        "ipsecd 1.2.3: degraded (node 1, since 2026-11-21T05:13:50Z)\n"
        "  groups     2\n"
        "  tunnels    3 up, 1 down, 0 establishing\n"
        "  SAs        3 IKE, 4 child, 0 half open; workers: 2\n"
        "  offload    4 packet, 0 crypto, 2 software\n"
        "\n"
        "Warnings\n"
        "  - device eth9 is missing: check the name and the namespace\n"
        "\n"
        "COUNT  CODE       MEANING\n"
        "13     new-code   \n"
        "12     ike-short  a datagram is shorter than an IKE header\n"
        "`ipsecctl explain CODE` tells what to do about one of them.\n");
  CHECK(exit_code_of_status(status) == 10);
  CHECK(exit_code_of_status({{"health", "ok"}}) == 0);
  CHECK(exit_code_of_status({{"health", "failed"}}) == 11);
  CHECK(exit_code_of_status(json()) == 11);
}

TEST_CASE("status: what NICs have refused is one line each") {
  const json refusals = {{{"device", "nic1"}, {"netns", nullptr}, {"code", "offload-refused"}, {"count", 3}},
                         {{"device", "nic1"}, {"netns", nullptr}, {"code", "offload-table-full"}, {"count", 1}},
                         {{"device", "nic1"}, {"netns", "pub"}, {"code", "offload-refused"}, {"count", 7}}};
  const std::string text = render_status({{"offload_refusals", refusals}}, Color::kOff);

  CHECK(text.find("  refused    nic1: 3 offload-refused, 1 offload-table-full\n") != std::string::npos);
  CHECK(text.find("  refused    pub/nic1: 7 offload-refused\n") != std::string::npos);
  CHECK(render_status({{"offload_refusals", json::array()}}, Color::kOff).find("refused") == std::string::npos);
}

TEST_CASE("status: what an older daemon does not tell is unknown, not nothing") {
  const std::string text = render_status(json::object(), Color::kOff);

  CHECK(text.find("groups     unknown\n") != std::string::npos);
  CHECK(text.find("unknown up, unknown down") != std::string::npos);
}

TEST_CASE("list: a table of the kind's columns") {
  CHECK(render_list("tunnels", {kTunnel}, Color::kOff) ==
        "NAME      GROUP  STATE  KEYING  REMOTE        REMOTE ID             UP  CHILDREN  SINCE                     "
        "LAST REASON\n"
        "branch-7  core   up     ike     198.51.100.7  branch-7.example.net  1   1         2026-11-21T05:13:50.123Z  "
        "tunnel-up\n");
  CHECK(render_list("sas", {}, Color::kOff) == "No sas.\n");
  CHECK(render_list("sas", {sa("in", "c1234567")}, Color::kOff).find(" 10       unknown\n") != std::string::npos);
}

TEST_CASE("show: a tunnel with manual keys is shown as what it is, without identities that it does not have") {
  json tunnel = kTunnel;
  tunnel.update({{"keying", "manual"}, {"local_id", nullptr}, {"remote_id", nullptr}});
  const std::string text = render_show("tunnels", tunnel, Color::kOff);
  CHECK(text.find("  keys           manual: nobody renews them") != std::string::npos);
  CHECK(text.find("local id") == std::string::npos);
  CHECK(text.find("remote id") == std::string::npos);
}

TEST_CASE("list: sorting knows numbers, names and what is missing") {
  std::vector<json> rows = {{{"n", "t10"}, {"x", 9}}, {{"n", "t9"}, {"x", 10}}, {{"n", "t1"}}};
  const auto names = [&rows] {
    std::string all;
    for (const json& row : rows) all += row["n"].get<std::string>() + " ";
    return all;
  };

  sort_rows(rows, "n");
  CHECK(names() == "t1 t9 t10 ");
  sort_rows(rows, "x");
  CHECK(names() == "t10 t9 t1 ");
}

TEST_CASE("show: a tunnel with its configuration, IKE SA, children and the offload of each direction") {
  json tunnel = kTunnel;
  tunnel["config"] = {{"ike_policy", "std"}, {"children", {{"lan", {{"local", {"10.1.0.0/16"}}}}}}};
  tunnel["ike_sas"] = {{{"ike_spi_i", "0011223344556677"},
                        {"ike_spi_r", "8899aabbccddeeff"},
                        {"state", "established"},
                        {"role", "initiator"},
                        {"local", "192.0.2.1[500]"},
                        {"remote", "198.51.100.7[500]"},
                        {"remote_id", "branch-7.example.net"},
                        {"proposal", "aes256gcm16-prfsha384-x25519"},
                        {"nat", nullptr},
                        {"worker", 1},
                        {"age_seconds", 75}}};
  tunnel["children"] = {{{"tunnel", "branch-7"},
                         {"child", "lan"},
                         {"state", "installed"},
                         {"local", "10.1.0.0/16"},
                         {"remote", "10.7.0.0/16"},
                         {"proposal", "aes256gcm16"}}};
  json refused = sa("in", "c1234567");
  refused["offload_effective"] = "software";
  refused["offload_device"] = nullptr;
  refused["offload_reason"] = "offload-inbound-if-id";
  refused["offload_detail"] = "Device doesn't support if_id";
  tunnel["sas"] = {refused, sa("out", "c89abcde")};

  CHECK(render_show("tunnels", tunnel, Color::kOff) ==
        "Tunnel branch-7 of group core: up since 2026-11-21T05:13:50.123Z\n"
        "  remote         198.51.100.7\n"
        "  local id       gw.example.net\n"
        "  remote id      branch-7.example.net\n"
        "  children       1 of 1 up\n"
        "  last reason    tunnel-up: all children of a tunnel are up\n"
        "\n"
        "Configuration\n"
        "  children.lan.local 10.1.0.0/16\n"
        "  ike_policy     std\n"
        "\n"
        "IKE SA 0011223344556677 / 8899aabbccddeeff\n"
        "  state          established, initiator, age 1m 15s, worker 1\n"
        "  path           192.0.2.1[500] to 198.51.100.7[500]\n"
        "  remote id      branch-7.example.net\n"
        "  proposal       aes256gcm16-prfsha384-x25519\n"
        "  NAT            none\n"
        "\n"
        "Child lan: installed\n"
        "  selectors      10.1.0.0/16 === 10.7.0.0/16\n"
        "  proposal       aes256gcm16\n"
        "  in             c1234567, 198.51.100.7 to 192.0.2.1, tunnel mode\n"
        "    suite        aes256gcm16\n"
        "    offload      requested packet, effective software\n"
        "    reason       offload-inbound-if-id: the kernel refuses inbound offload of an SA that belongs to an xfrm "
        "interface\n"
        "    the kernel   \"Device doesn't support if_id\"\n"
        "    packets      10\n"
        "    bytes        unknown\n"
        "  out            c89abcde, 198.51.100.7 to 192.0.2.1, tunnel mode\n"
        "    suite        aes256gcm16\n"
        "    offload      requested packet, effective packet on eth1\n"
        "    packets      10\n"
        "    bytes        unknown\n");
}

TEST_CASE("show: a tunnel that is down says why and what to do") {
  json tunnel = kTunnel;
  tunnel["state"] = "down";
  tunnel["last_reason"] = "setup-timeout";
  tunnel["last_detail"] = "no answer from 198.51.100.7";

  const std::string text = render_show("tunnels", tunnel, Color::kOff);

  CHECK(text.find("last reason    setup-timeout: the set-up did not finish in time\n") != std::string::npos);
  CHECK(text.find("               no answer from 198.51.100.7\n") != std::string::npos);
  CHECK(text.find("what to do     Check that UDP 500 and 4500 reach") != std::string::npos);
}

TEST_CASE("show: a tunnel's interface with its state and addresses") {
  json tunnel = kTunnel;
  CHECK(render_show("tunnels", tunnel, Color::kOff).find("interface") == std::string::npos);
  tunnel["interface"] = "ips1000001";
  tunnel["interface_state"] = "dormant";
  tunnel["addresses"] = json::array();
  CHECK(render_show("tunnels", tunnel, Color::kOff).find("  interface      ips1000001, dormant\n") !=
        std::string::npos);
  tunnel["addresses"] = {"10.255.0.1/30", "fe80::1/64"};
  CHECK(render_show("tunnels", tunnel, Color::kOff).find("ips1000001, dormant, 10.255.0.1/30, fe80::1/64\n") !=
        std::string::npos);
}

TEST_CASE("show: any other object as its keys and values") {
  CHECK(render_show("groups", {{"name", "core"}, {"addresses", {"192.0.2.1"}}, {"new_key", 3}}, Color::kOff) ==
        "name             core\n"
        "addresses        192.0.2.1\n"
        "new_key          3\n");
}

TEST_CASE("events, outcomes, checks and errors are sentences") {
  CHECK(render_event({{"sequence", 7},
                      {"time", "2026-11-21T05:13:50.123Z"},
                      {"object", "tunnel/branch-7"},
                      {"code", "ike-established"},
                      {"text", "an IKE SA was established"},
                      {"fields", {{"peer", "198.51.100.7"}, {"words", "two words"}}}},
                     Color::kOff) ==
        "2026-11-21T05:13:50.123Z 7 tunnel/branch-7 ike-established: an IKE SA was established peer=198.51.100.7 "
        "words=\"two words\"\n");
  CHECK(render_lost(1) == "(1 event is no longer kept)\n");
  CHECK(render_lost(20) == "(20 events are no longer kept)\n");
  CHECK(render_outcome("up", {{"tunnel", "a"}, {"state", "up"}, {"detail", "1 child established"}}, Color::kOff) ==
        "Tunnel a is up: 1 child established.\n");
  CHECK(render_outcome("down", {{"tunnel", "a"}, {"child", "lan"}}, Color::kOff) == "Child a/lan is down.\n");
  CHECK(render_check({{"ok", false},
                      {"errors",
                       {{{"file", "a.json"},
                         {"line", 3},
                         {"pointer", "/tunnels/a/group"},
                         {"found", "cor"},
                         {"allowed", "core"},
                         {"text", "a.json:3: /tunnels/a/group: found cor, allowed: core"}}}},
                      {"warnings", json::array()}},
                     Color::kOff) ==
        "error: a.json:3: /tunnels/a/group: found cor, allowed: core\n"
        "The configuration is not valid (1 error, 0 warnings).\n");
  CHECK(render_error({.parameters = {{"code", "setup-timeout"}, {"text", "no answer"}, {"remedy", "Look there."}},
                      .error = "net.ipsecd.control.Failed"},
                     Color::kOff) ==
        "ipsecctl: no answer [setup-timeout]\n"
        "  what to do Look there.\n");
  CHECK(render_error({.parameters = {{"method", "net.ipsecd.control.Up"}, {"needed", "root"}},
                      .error = "net.ipsecd.control.PermissionDenied"},
                     Color::kOff) == "ipsecctl: no permission for net.ipsecd.control.Up: it needs root\n");
}

TEST_CASE("render: whatever JSON comes, there is a text") {
  for (const json& odd : {json(), json(1), json("x"), json::array({1, nullptr}), json{{"config", 3}, {"sas", {1, 2}}},
                          json{{"ike_sas", "x"}, {"children", {1, {{"child", 7}}}}, {"counters", {1}}}}) {
    for (const char* kind : {"tunnels", "sas", "peers", "groups", "nonsense"}) {
      CHECK_FALSE(render_show(kind, odd, Color::kOn).empty());
      CHECK_FALSE(render_list(kind, {odd}, Color::kOn).empty());
    }
    CHECK_FALSE(render_status(odd, Color::kOff).empty());
    CHECK_FALSE(render_event(odd, Color::kOff).empty());
    CHECK_FALSE(render_outcome("up", odd, Color::kOff).empty());
    CHECK_FALSE(render_check(odd, Color::kOff).empty());
    CHECK_FALSE(render_explain(odd, Color::kOff).empty());
    CHECK_FALSE(render_error({.parameters = odd, .error = "x"}, Color::kOff).empty());
  }
}

TEST_CASE("status: SAs of an earlier run are named while there are any") {
  CHECK(render_status({{"orphans", 2}}, Color::kOff).find("2 SAs of an earlier run") != std::string::npos);
  CHECK(render_status({{"orphans", 0}}, Color::kOff).find("earlier run") == std::string::npos);
}

TEST_CASE("list: of an orphaned child it says how long it may still carry traffic") {
  const json child{{"tunnel", "a"}, {"child", "lan"}, {"state", "orphaned"}, {"ends_in_seconds", 590}};
  const std::string table = render_list("children", {child}, Color::kOff);
  CHECK(table.find("ENDS IN") != std::string::npos);
  CHECK(table.find("orphaned") != std::string::npos);
  CHECK(table.find("9m") != std::string::npos);
}
