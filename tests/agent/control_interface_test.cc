#include <doctest/doctest.h>

#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "agent/control/interface_text.h"
#include "agent/control/methods.h"
#include "agent/ctl/columns.h"
#include "agent/show/drift_json.h"
#include "agent/show/negotiation_json.h"
#include "tests/agent/control_support.h"
#include "tests/agent/negotiation_support.h"
#include "tests/support/source_folder.h"

using namespace ipsec;
using namespace ipsec::agent::control;
using nlohmann::json;

namespace {

std::string file_text(const std::string& name) {
  std::ifstream file(testing::in_source_folder("agent/control/" + name));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The interface's text without comments.
std::string bare(std::string_view text) { return std::regex_replace(std::string(text), std::regex("#[^\n]*"), ""); }

using Names = std::set<std::string>;

/// Names and parameters of the methods: "List(filter?,kind)".
Names described(std::string_view text) {
  Names names;
  const std::string plain = bare(text);
  const std::regex method(R"(method\s+(\w+)\(([^)]*)\)\s*->)");
  for (std::sregex_iterator it(plain.begin(), plain.end(), method), end; it != end; ++it) {
    Names parameters;
    const std::string list = (*it)[2];
    const std::regex parameter(R"((\w+):\s*(\??))");
    for (std::sregex_iterator at(list.begin(), list.end(), parameter); at != end; ++at)
      parameters.insert((*at)[1].str() + (*at)[2].str());
    std::string joined;
    for (const auto& each : parameters) joined.append(joined.empty() ? "" : ",").append(each);
    names.insert((*it)[1].str() + "(" + joined + ")");
  }
  return names;
}

Names served(std::string_view interface) {
  Names names;
  for (const Method& method : methods()) {
    if (method.interface != interface) continue;
    Names parameters;
    for (const Parameter& each : method.parameters)
      parameters.insert(std::string(each.name) + (each.presence == Parameter::Presence::kOptional ? "?" : ""));
    std::string joined;
    for (const auto& each : parameters) joined.append(joined.empty() ? "" : ",").append(each);
    names.insert(std::string(method.name) + "(" + joined + ")");
  }
  return names;
}

/// The keys of a type of the interface file.
Names keys_of(const std::string& type) {
  const std::string plain = bare(control_interface());
  const size_t begin = plain.find("type " + type + " (");
  REQUIRE(begin != std::string::npos);
  Names keys;
  const std::string body = plain.substr(begin, plain.find("\n)", begin) - begin);
  const std::string first_line = body.substr(0, body.find("\n\n"));
  const std::regex key(R"((\w+):)");
  for (std::sregex_iterator it(first_line.begin(), first_line.end(), key), end; it != end; ++it) keys.insert((*it)[1]);
  return keys;
}

}  // namespace

TEST_CASE("interface: every method that is served is described, and the reverse") {
  CHECK(described(control_interface()) == served(kInterface));
  CHECK(described(service_interface()) == served(kServiceInterface));
}

TEST_CASE("interface: what introspection serves is the file") {
  World world;
  const int fd = world.connect();

  const json info = world.call(fd, "org.varlink.service.GetInfo");
  const json text =
      world.call(fd, "org.varlink.service.GetInterfaceDescription", {{"interface", "net.ipsecd.control"}});
  const json none = world.call(fd, "org.varlink.service.GetInterfaceDescription", {{"interface", "net.example"}});

  CHECK(info["parameters"]["interfaces"] == json{"org.varlink.service", "net.ipsecd.control"});
  CHECK(info["parameters"]["version"] == "1.2.3");
  CHECK(text["parameters"]["description"] == file_text("net.ipsecd.control.varlink"));
  CHECK(none["error"] == "org.varlink.service.InterfaceNotFound");
}

TEST_CASE("interface: the errors that are sent are described") {
  const std::string text = bare(control_interface());
  for (const Reply& reply :
       {permission_denied("m", "n"), failure(Error(Reason::kNotFound)), failure(Error(Reason::kTimeout))}) {
    const std::string name = reply.error.substr(std::string(kInterface).size() + 1);
    CAPTURE(name);
    CHECK(text.find("error " + name + " (") != std::string::npos);
    for (const auto& [key, value] : reply.parameters.items()) CHECK(text.find(key + ": string") != std::string::npos);
  }
}

TEST_CASE("interface: the columns of ipsecctl are the keys of the rows") {
  const std::pair<const char*, const char*> kinds[] = {
      {"tunnels", "Tunnel"},  {"sas", "Sa"},         {"children", "Child"},         {"peers", "Peer"},
      {"groups", "Group"},    {"devices", "Device"}, {"credentials", "Credential"}, {"routes", "Route"},
      {"carriers", "Carrier"}};
  for (const auto& each : kinds) {
    const std::string kind = each.first;
    CAPTURE(kind);
    Names columns;
    for (const auto& column : agent::ctl::columns_of(kind)) columns.insert(std::string(column.key));
    CHECK(columns == keys_of(each.second));
  }
}

TEST_CASE("interface: a failed negotiation has exactly the keys that are described") {
  agent::NegotiationLog log(agent::negotiation_config());
  log.note(agent::second(1), agent::refused_child());
  const auto failures = agent::negotiation_failures(log, *agent::negotiation_config(), agent::negotiation_files(), "a");
  Names keys;
  for (const auto& [key, value] : failures.value().at(0).items()) keys.insert(key);
  CHECK(keys == keys_of("NegotiationFailure"));
}

TEST_CASE("interface: a comparison with the kernel has exactly the keys that are described") {
  const auto names = [](const json& object) {
    Names keys;
    for (const auto& [key, value] : object.items()) keys.insert(key);
    return keys;
  };
  const agent::NamespaceDrift found{
      .netns = "a", .obstacle = {}, .rows = std::make_shared<const std::vector<policy::DriftRow>>(1)};
  const json space = agent::drift_json({found}, {}).value().at(0);
  CHECK(names(space) == keys_of("NamespaceDrift"));
  CHECK(names(space.at("rows").at(0)) == keys_of("DriftRow"));
}
