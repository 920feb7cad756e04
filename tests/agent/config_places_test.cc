#include "agent/config_places.h"

#include <doctest/doctest.h>

#include "agent/limits.h"

using namespace ipsec;
using namespace ipsec::agent;

namespace {

const std::vector<policy::ConfigFile> kFiles = {{"gw.json", R"({
  // a comment
  "ike_policies": {
    "a/b~c": {
      "proposals": [ "one",
        "two" ] } }
})"},
                                                {"more.json", R"({
  "tunnels": {

    "x": { "remote": "192.0.2.9" } } })"}};

std::string place(std::string_view pointer, const std::vector<policy::ConfigFile>& files = kFiles) {
  ConfigPlaces places(files);
  const auto found = places.find(pointer);
  return found ? found->file + ":" + std::to_string(found->line) : "nothing";
}

}  // namespace

TEST_CASE("places: a pointer leads to file and line, through lists and escaped names") {
  CHECK(place("/ike_policies/a~1b~0c/proposals/0") == "gw.json:5");
  CHECK(place("/ike_policies/a~1b~0c/proposals/1") == "gw.json:6");
  CHECK(place("/tunnels/x/remote") == "more.json:4");
}

TEST_CASE("places: what is not written leads to the nearest thing around it, or nowhere") {
  CHECK(place("/tunnels/x/remote_id") == "more.json:4");
  CHECK(place("/tunnels/y/remote_id") == "more.json:2");
  CHECK(place("/ike_policies/a~1b~0c/proposals/2") == "gw.json:5");
  CHECK(place("/ike_policies/a~1b~0c/proposals/x") == "gw.json:5");
  CHECK(place("/tunnels/x/remote/deeper") == "more.json:4");
  CHECK(place("/credentials/key") == "nothing");
  CHECK(place("") == "nothing");
}

TEST_CASE("places: the section that two files have is looked for in both") {
  const std::vector<policy::ConfigFile> files = {{"a.json", "{ \"tunnels\": { \"a\": {} } }"},
                                                 {"b.json", "{ \"tunnels\":\n { \"b\":\n {} } }"}};
  CHECK(place("/tunnels/b", files) == "b.json:3");
  CHECK(place("/tunnels/c", files) == "a.json:1");
}

TEST_CASE("places: a text that is no JSON, or too large to be read meanwhile, has none") {
  CHECK(place("/tunnels", {{"a.json", "{ \"tunnels\": "}}) == "nothing");
  std::string large = "{ \"tunnels\": {} }";
  large.append(kLocatedBytesMax, ' ');
  CHECK(place("/tunnels", {{"a.json", large}}) == "nothing");
}
