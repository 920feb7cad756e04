#include "policy/config_manual.h"

#include <algorithm>
#include <tuple>

#include "policy/limits.h"
#include "policy/manual.h"

namespace ipsec::policy {
namespace {

constexpr size_t kNamesTold = 5;

void read_file(ObjectReader& reader, std::string& target) {
  reader.text("file", target);
  if (const JsonNode* node = reader.find("file"); node != nullptr && target.empty() && node->text.empty())
    reader.error("file", Reason::kConfigBadValue, node->shown(), "the name of a file");
}

bool is_manual(const JsonNode& child) {
  const JsonNode* manual = child.find("manual");
  return manual != nullptr && manual->kind == JsonNode::Kind::kObject;
}

/// Where a child's SPI stands.
std::pair<const JsonNode*, std::string> place_of(const JsonNode& tunnel, const std::string& name,
                                                 const ChildConfig& child, std::string_view key) {
  const JsonNode* manual = tunnel.find("children")->find(child.name)->find("manual");
  return {manual->find(key), "/tunnels/" + name + "/children/" + child.name + "/manual/" + std::string(key)};
}

}  // namespace

void read_key_files(ObjectReader& credential, Credential& target) {
  auto psk = credential.object("psk");
  auto manual = credential.object("manual");
  if (psk) read_file(*psk, target.psk_file);
  if (manual) {
    if (auto in = manual->object("in")) read_file(*in, target.in_file);
    if (auto out = manual->object("out")) read_file(*out, target.out_file);
  }
  if (psk && manual)
    credential.error("manual", Reason::kConfigConflict, "psk and manual", "one of the two");
  else if (credential.is_object() && credential.find("psk") == nullptr && credential.find("manual") == nullptr)
    credential.error("psk", Reason::kConfigMissing, {}, "pre-shared key, or manual keys in its place");
}

bool has_manual_children(const ObjectReader& tunnel) {
  const JsonNode* children = tunnel.find("children");
  return children != nullptr && children->kind == JsonNode::Kind::kObject &&
         std::ranges::any_of(children->members, [](const auto& each) { return is_manual(each.value); });
}

ManualSas read_manual(ObjectReader& manual) {
  ManualSas sas;
  manual.number("spi_in", sas.spi_in);
  manual.number("spi_out", sas.spi_out);
  return sas;
}

void check_manual_child(ObjectReader& reader, ChildConfig& child, bool allowed) {
  child.start = StartMode::kNow;
  if (const auto word = reader.word("start"); word && static_cast<StartMode>(*word) != StartMode::kNow)
    reader.error("start", Reason::kConfigConflict, reader.find("start")->shown(),
                 "now, or nothing: SAs with manual keys stand as long as the daemon runs");
  if (!allowed)
    return reader.error("manual", Reason::kConfigManualKeys, "manual keys",
                        "none: keys that nobody renews are unsafe, use IKE; or node.allow_manual_keys");
  if (child.manual->credential && !child.manual->credential->is_manual())
    reader.error("manual", Reason::kConfigConflict, "credential " + child.manual->credential->name,
                 "a credential with manual keys");
  if (child.policy->proposals.empty()) return;  // reported with the policy
  if (const auto suite = manual_suite(*child.policy); !suite.ok())
    reader.error("policy", Reason::kConfigConflict,
                 "child policy " + child.policy->name + ": " + to_string(child.policy->proposals),
                 suite.error().detail());
}

void check_manual_tunnel(ObjectReader& reader, const Tunnel& tunnel) {
  for (const std::string_view key : {"credential", "ike_policy", "local_id", "remote_id", "remote_port"})
    if (const JsonNode* node = reader.find(key); node != nullptr)
      reader.error(key, Reason::kConfigConflict, node->shown(), "none, because the tunnel's keys are manual: no IKE");
  if (const JsonNode* remote = reader.find("remote"); remote != nullptr && !tunnel.remote)
    reader.error("remote", Reason::kConfigConflict, remote->shown(),
                 "the peer's address, because the tunnel's keys are manual");
  const auto negotiated =
      std::ranges::find_if(tunnel.children, [](const ChildConfig& child) { return !child.manual.has_value(); });
  if (negotiated != tunnel.children.end())
    reader.error("children", Reason::kConfigConflict, "child " + negotiated->name + " without manual keys",
                 "manual keys for all children of the tunnel, or for none");
}

void check_negotiated_tunnel(ObjectReader& reader, const Tunnel& tunnel) {
  if (reader.find("credential") == nullptr)
    reader.error("credential", Reason::kConfigMissing, {}, "name of the credential");
  else if (tunnel.credential && tunnel.credential->is_manual())
    reader.error("credential", Reason::kConfigConflict, "credential " + tunnel.credential->name,
                 "a credential with a pre-shared key");
}

void settle_manual_keys(Config& config, const std::map<std::string, const JsonNode*>& nodes, ErrorList& errors) {
  std::map<uint32_t, std::string> inbound;                                       // of the whole node
  std::map<std::tuple<std::string, IpAddress, uint32_t>, std::string> outbound;  // as the kernel has it
  std::string names;
  size_t manual = 0;
  for (const auto& [name, tunnel] : config.tunnels) {
    if (!tunnel->is_manual()) continue;
    if (++manual <= kNamesTold) names.append(names.empty() ? "" : ", ").append(name);
    for (const ChildConfig& child : tunnel->children) {
      if (!child.manual || !tunnel->remote) continue;
      const std::string owner = "child " + child.name + " of tunnel " + name;
      const auto taken = [&, &of = name](std::string_view key, uint32_t spi, const std::string& by) {
        auto [node, pointer] = place_of(*nodes.at(of), of, child, key);
        if (node != nullptr)
          errors.add(*node, std::move(pointer), Reason::kConfigConflict, std::to_string(spi),
                     "an SPI that " + by + " does not have");
      };
      const auto [in, fresh_in] = inbound.emplace(child.manual->spi_in, owner);
      if (!fresh_in && child.manual->spi_in != 0) taken("spi_in", child.manual->spi_in, in->second);
      const auto [out, fresh_out] = outbound.emplace(
          std::tuple(tunnel->group->public_place.netns, *tunnel->remote, child.manual->spi_out), owner);
      if (!fresh_out && child.manual->spi_out != 0) taken("spi_out", child.manual->spi_out, out->second);
      const auto& keys = child.manual->credential;
      if (keys && keys->is_manual() && keys->in_file == keys->out_file)
        config.warnings.push_back(owner + ": one file holds the keys of both directions (credential " + keys->name +
                                  "): what we send can be sent back to us");
    }
  }
  if (manual == 0) return;
  if (manual > kNamesTold) names.append(" and ").append(std::to_string(manual - kNamesTold)).append(" more");
  config.warnings.push_back(
      "manual keys: nothing renews them, and nothing protects from replayed packets (tunnels: " + names + ")");
}

}  // namespace ipsec::policy
