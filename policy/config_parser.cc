#include "policy/config_parser.h"

#include <algorithm>
#include <set>

#include "policy/config_addresses.h"
#include "policy/config_attachment.h"
#include "policy/config_carriers.h"
#include "policy/config_manual.h"
#include "policy/config_policies.h"
#include "policy/config_reader.h"
#include "policy/config_routes.h"
#include "policy/config_rules.h"
#include "policy/config_warnings.h"
#include "policy/limits.h"
#include "policy/selector_fit.h"

namespace ipsec::policy {
namespace {

/// One parse: the errors, the configuration that is being made, and the objects by name.
class Parser {
 public:
  explicit Parser(const std::vector<ConfigFile>& files) : files_(files), errors_(files) {}
  ConfigOutcome run();

 private:
  using Objects = std::map<std::string, const JsonNode*>;
  void read_documents();
  void read_top(const JsonNode& document);
  void once(const ObjectReader& reader, std::string_view key);
  void check_defaults();
  void collect(const JsonNode& document, std::string_view key, Objects& objects);
  void read_groups();
  void make_built_in_policies();
  void read_policies();
  void read_credentials();
  void read_tunnels();
  std::shared_ptr<TunnelGroup> read_group(const std::string& name, ObjectReader reader);
  void read_exceptions(ObjectReader& reader, TunnelGroup& group);
  SelectorList read_selectors(ObjectReader& reader, std::string_view key);
  void read_tunnel(const std::string& name, ObjectReader reader);
  void read_ends(ObjectReader& reader, Tunnel& tunnel);
  void check_ike_policy(ObjectReader& reader, const Tunnel& tunnel);
  void read_child(ObjectReader reader, Tunnel& tunnel, const std::string& name, PolicyOwners& owners);
  void add_child(ObjectReader& reader, Tunnel& tunnel, const ChildConfig& child, PolicyOwners& owners);
  void read_children(ObjectReader& reader, Tunnel& tunnel);
  template <typename T>
  std::shared_ptr<const T> resolve(ObjectReader& reader, std::string_view key, std::string_view kind,
                                   const std::string& fallback,
                                   const std::map<std::string, std::shared_ptr<const T>>& known);

  const std::vector<ConfigFile>& files_;
  ErrorList errors_;
  std::vector<JsonNode> documents_;
  Config config_;
  std::map<std::string, const JsonNode*> settings_;  // single values that stand in one file only, by pointer
  Objects groups_, ike_policies_, child_policies_, credentials_, tunnels_, carriers_;
  std::map<std::string, std::shared_ptr<TunnelGroup>> open_groups_;  // config_.groups, until all is read
  std::string default_ike_policy_, default_child_policy_;
  std::shared_ptr<const IkePolicy> built_in_ike_policy_;
  std::shared_ptr<const ChildPolicy> built_in_child_policy_;
  WarningGroup split_{"more children that are split, for they need more kernel policies than policies_max"};
};

void Parser::read_documents() {
  if (files_.empty()) errors_.add(0, 0, {}, Reason::kConfigMissing, {}, "a configuration: no file was given");
  for (size_t i = 0; i < files_.size(); ++i) {
    auto parsed = parse_json(files_[i].text, i);
    if (const auto* problem = std::get_if<JsonProblem>(&parsed))
      errors_.add_syntax(i, *problem);
    else
      documents_.push_back(std::move(std::get<JsonNode>(parsed)));
  }
}

void Parser::collect(const JsonNode& document, std::string_view key, Objects& objects) {
  const JsonNode* section = document.find(key);
  if (section == nullptr) return;
  const std::string pointer = "/" + std::string(key);
  if (section->kind != JsonNode::Kind::kObject)
    return errors_.add(*section, pointer, Reason::kConfigBadValue, section->shown(),
                       "an object of named objects: { \"name\": { ... } }");
  for (const auto& [name, node] : section->members) {
    const std::string at = pointer + "/" + pointer_part(name);
    if (!is_object_name(name))
      errors_.add(node, at, Reason::kConfigBadValue, "the name \"" + printable(as_bytes(name)) + "\"",
                  "1 to 64 of letters, digits, '.', '_' and '-'");
    else if (auto [it, fresh] = objects.try_emplace(name, &node); !fresh)
      errors_.add(node, at, Reason::kConfigConflict, "a second object of this name",
                  "the first one is in " + files_[it->second->file].name + ":" + std::to_string(it->second->line));
  }
}

/// Of two files the last would win, by the order of their names.
void Parser::once(const ObjectReader& reader, std::string_view key) {
  const JsonNode* node = reader.find(key);
  if (node == nullptr) return;
  if (auto [it, fresh] = settings_.try_emplace(reader.pointer(key), node); !fresh)
    errors_.add(*node, it->first, Reason::kConfigConflict, "a second value",
                "the first one is in " + files_[it->second->file].name + ":" + std::to_string(it->second->line));
}

/// A default that no object happens to use is checked as well: the next one will.
void Parser::check_defaults() {
  auto check = [&](const std::string& pointer, const std::string& name, std::string_view kind, const Objects& known) {
    const auto setting = settings_.find(pointer);
    if (setting == settings_.end() || setting->second->kind != JsonNode::Kind::kText || known.contains(name)) return;
    errors_.add(*setting->second, pointer, Reason::kConfigBadReference, setting->second->shown(),
                "the name of " + std::string(kind) + errors_.did_you_mean(name, known, kNameOfEntry));
  };
  check("/defaults/ike_policy", default_ike_policy_, "an IKE policy", ike_policies_);
  check("/defaults/child_policy", default_child_policy_, "a child policy", child_policies_);
}

void Parser::read_top(const JsonNode& document) {
  ObjectReader reader(errors_, document, "", config_keys());
  if (!reader.is_object()) return;
  int64_t version = 1;
  reader.number("version", version);
  if (auto node = reader.object("node")) {
    once(*node, "id");
    node->number("id", config_.node_id);
    once(*node, "admission");
    if (auto admission = node->object("admission")) read_admission(*admission, config_.admission);
    once(*node, "offload");
    if (auto offload = node->object("offload")) read_offload_budget(*offload, errors_, config_.offload);
    once(*node, "orphan_grace");
    node->duration("orphan_grace", config_.orphan_grace);
    once(*node, "allow_manual_keys");
    node->flag("allow_manual_keys", config_.allow_manual_keys);
    once(*node, "adapt_policy_hash");
    node->flag("adapt_policy_hash", config_.adapt_policy_hash);
  }
  if (auto defaults = reader.object("defaults")) {
    once(*defaults, "ike_policy");
    once(*defaults, "child_policy");
    defaults->text("ike_policy", default_ike_policy_);
    defaults->text("child_policy", default_child_policy_);
    read_algorithm_rules(*defaults, config_);
    for (const char* key : {"allow_weak", "require_pfs"}) once(*defaults, key);
  }
  collect(document, "tunnel_groups", groups_);
  collect(document, "ike_policies", ike_policies_);
  collect(document, "child_policies", child_policies_);
  collect(document, "credentials", credentials_);
  collect(document, "tunnels", tunnels_);
  collect(document, "carriers", carriers_);
}

void Parser::read_exceptions(ObjectReader& reader, TunnelGroup& group) {
  for (ObjectReader& each : reader.objects("exceptions")) {
    TrafficException exception{.local = read_selectors(each, "local"), .remote = read_selectors(each, "remote")};
    for (SelectorList* list : {&exception.local, &exception.remote})
      if (list->empty())
        for (const Family family : {Family::kIpv4, Family::kIpv6})
          list->push_back({.addresses = IpRange::of(IpPrefix::all(family))});
    if (auto word = each.word("action")) exception.action = static_cast<ExceptionAction>(*word);
    group.exceptions.push_back(std::move(exception));
  }
}

std::shared_ptr<TunnelGroup> Parser::read_group(const std::string& name, ObjectReader reader) {
  auto group = std::make_shared<TunnelGroup>();
  group->name = name;
  if (auto place = reader.object("public")) {
    read_place(*place, group->public_place);
    for (const JsonNode* each : place->texts("addresses")) {
      auto address = IpAddress::parse(each->text);
      if (Status usable = address.ok() ? check_gateway(*address) : Status(); !address.ok() || !usable.ok())
        place->error(*each, "addresses", Reason::kConfigBadValue,
                     "an IP address of this machine" + (usable.ok() ? "" : "; " + usable.error().detail()));
      else if (std::ranges::find(group->public_addresses, *address) != group->public_addresses.end())
        place->error(*each, "addresses", Reason::kConfigConflict, "each address once");
      else
        group->public_addresses.push_back(*address);
    }
  }
  if (auto place = reader.object("private")) {
    read_place(*place, group->private_place);
    read_vrf_table(*place, *group);
    read_interface_addresses(*place, group->private_addresses);
  }
  if (auto word = reader.word("role")) group->role = *word == 0 ? Role::kRespond : Role::kBoth;
  if (auto word = reader.word("attachment")) group->attachment = static_cast<Attachment>(*word);
  if (auto word = reader.word("interfaces")) group->interfaces = static_cast<InterfaceScope>(*word);
  if (auto offload = reader.object("offload")) {
    if (auto word = offload->word("mode")) group->offload = static_cast<OffloadMode>(*word);
    for (const JsonNode* each : offload->texts("devices")) {
      if (!is_device_name(each->text))
        offload->error(*each, "devices", Reason::kConfigBadValue,
                       "the name of a network device, at most 15 characters");
      group->offload_devices.push_back(each->text);
    }
    if (group->offload != OffloadMode::kNone && group->offload_devices.empty())
      offload->error("devices", Reason::kConfigMissing, {},
                     "the NICs that carry this group's packets, since offload is wanted");
  }
  if (auto routes = reader.object("routes")) read_group_routes(*routes, *group);
  reader.number("tunnels_max", group->tunnels_max);
  read_mss(reader, group->mss);
  reader.flag("enabled", group->enabled);
  reader.flag("default_block", group->default_block);
  read_exceptions(reader, *group);
  return group;
}

void Parser::read_groups() {
  for (const auto& [name, node] : groups_) {
    auto group = read_group(name, ObjectReader(errors_, *node, "/tunnel_groups/" + name, config_keys("tunnel_groups")));
    open_groups_.emplace(name, group);
    config_.groups.emplace(name, std::move(group));
  }
}

/// Policies of tunnels and children that name none: one for all of them.
void Parser::make_built_in_policies() {
  auto ike = std::make_shared<IkePolicy>();
  ike->name = "built-in";
  ike->proposals = parse_proposal(Protocol::kIke, kDefaultIkeProposal).value();
  built_in_ike_policy_ = std::move(ike);
  auto child = std::make_shared<ChildPolicy>();
  child->name = "built-in";
  child->proposals = parse_proposal(Protocol::kEsp, kDefaultEspProposal).value();
  child->pfs = child->pfs_required = config_.require_pfs;
  built_in_child_policy_ = std::move(child);
}

void Parser::read_policies() {
  for (const auto& [name, node] : ike_policies_)
    config_.ike_policies.emplace(
        name, read_ike_policy(name, ObjectReader(errors_, *node, "/ike_policies/" + name, config_keys("ike_policies")),
                              config_));
  for (const auto& [name, node] : child_policies_)
    config_.child_policies.emplace(
        name,
        read_child_policy(name, ObjectReader(errors_, *node, "/child_policies/" + name, config_keys("child_policies")),
                          config_));
}

void Parser::read_credentials() {
  for (const auto& [name, node] : credentials_) {
    ObjectReader reader(errors_, *node, "/credentials/" + name, config_keys("credentials"));
    auto credential = std::make_shared<Credential>();
    credential->name = name;
    read_key_files(reader, *credential);
    config_.credentials.emplace(name, std::move(credential));
  }
}

template <typename T>
std::shared_ptr<const T> Parser::resolve(ObjectReader& reader, std::string_view key, std::string_view kind,
                                         const std::string& fallback,
                                         const std::map<std::string, std::shared_ptr<const T>>& known) {
  const JsonNode* node = reader.find(key);
  std::string name = fallback;
  reader.text(key, name);
  if (auto it = known.find(name); it != known.end()) return it->second;
  // Reported already: a value that is no text, a required key that is missing, a default that names nothing.
  if (node == nullptr || node->kind != JsonNode::Kind::kText) return nullptr;
  reader.error(key, Reason::kConfigBadReference, "\"" + printable(as_bytes(name)) + "\"",
               "the name of " + std::string(kind) +
                   (known.empty() ? "; this configuration has none" : errors_.did_you_mean(name, known, kNameOfEntry)));
  return nullptr;
}

SelectorList Parser::read_selectors(ObjectReader& reader, std::string_view key) {
  SelectorList list;
  for (const JsonNode* each : reader.texts(key)) {
    auto selector = parse_selector(each->text);
    if (selector.ok())
      list.push_back(*selector);
    else
      reader.error(*each, key, Reason::kConfigBadValue,
                   selector.error().detail() + (each->text == "any" || each->text == "*" || each->text == "all"
                                                    ? "; all addresses are 0.0.0.0/0, or ::/0 for IPv6"
                                                    : ""));
  }
  return list;
}

void Parser::read_child(ObjectReader reader, Tunnel& tunnel, const std::string& name, PolicyOwners& owners) {
  ChildConfig child{
      .name = name,
      .local = read_selectors(reader, "local"),
      .remote = read_selectors(reader, "remote"),
      .policy = resolve(reader, "policy", "a child policy", default_child_policy_, config_.child_policies)};
  if (!child.policy) child.policy = built_in_child_policy_;
  if (auto manual = reader.object("manual")) {
    child.manual = read_manual(*manual);
    child.manual->credential = resolve(*manual, "credential", "a credential", {}, config_.credentials);
    check_manual_child(reader, child, config_.allow_manual_keys);
    if (!child.local.empty() && !child.remote.empty()) add_child(reader, tunnel, child, owners);
    return;
  }
  child.policy = with_pfs_groups(std::move(child.policy), *tunnel.ike_policy);
  if (auto word = reader.word("start")) child.start = static_cast<StartMode>(*word);
  const bool starts = child.start != StartMode::kRespond;
  if (starts && tunnel.ike_policy->role == Role::kRespond)
    reader.error("start", Reason::kConfigConflict, std::string("\"").append(to_string(child.start)) + "\"",
                 tunnel.group->role == Role::kRespond
                     ? "respond, because group " + tunnel.group->name + " has role respond"
                     : std::string("respond, because the IKE policy has role respond"));
  if (starts && !tunnel.remote)
    reader.error("start", Reason::kConfigConflict, std::string("\"").append(to_string(child.start)) + "\"",
                 "respond, because the remote address is not known");
  if (!child.local.empty() && !child.remote.empty()) add_child(reader, tunnel, child, owners);
}

/// Puts the child into the tunnel, as several where the kernel policies of one would be too many.
void Parser::add_child(ObjectReader& reader, Tunnel& tunnel, const ChildConfig& child, PolicyOwners& owners) {
  auto conflict = [&](const Error& error) {
    reader.error("remote", Reason::kConfigConflict,
                 "local " + to_string(child.local) + ", remote " + to_string(child.remote), error.detail());
  };
  auto parts = split_child(child, child.policy->policies_max);
  if (!parts.ok()) return conflict(parts.error());
  if (parts->size() > 1 && child.manual)
    return conflict(Error(Reason::kConfigConflict,
                          "selectors for " + std::to_string(child.policy->policies_max) +
                              " kernel policies at most (policies_max): a child with manual keys is not split"));
  if (parts->size() > 1)
    split_.add("tunnel " + tunnel.name + ": child " + child.name + " needs more kernel policies than " +
               std::to_string(child.policy->policies_max) + " (policies_max of child policy " + child.policy->name +
               "): it is split into " + parts->front().name + " to " + parts->back().name);
  for (ChildConfig& part : *parts) {
    if (Status claimed = owners.claim(part.local, part.remote, "child " + part.name); !claimed.ok())
      return conflict(claimed.error());
    if (part.name.size() > kObjectNameMax || tunnel.child(part.name) != nullptr)
      return conflict(Error(Reason::kConfigConflict,
                            "another name: of its parts, " + part.name + " is taken or longer than a name may be"));
    tunnel.children.push_back(std::move(part));
  }
}

namespace {

/// What stands in the place of an address, where that can be told.
std::string not_an_address(std::string_view text, const Status& usable) {
  if (!usable.ok()) return "; " + usable.error().detail();
  if (text == "%any" || text == "*" || text == "0.0.0.0" || text == "::")
    return "; any address is written \"any\" here";
  if (text.find('/') != std::string_view::npos) return "; a tunnel has one peer, so that no prefix can stand here";
  if (text.find('%') != std::string_view::npos)
    return "; an address with an interface behind % is none between gateways";
  if (text.find_first_of("ghijklmnopqrstuvwxyz") != std::string_view::npos)
    return "; host names are not looked up in this version";
  return {};
}

}  // namespace

void Parser::read_ends(ObjectReader& reader, Tunnel& tunnel) {
  std::string text;
  reader.text("remote", text);
  const JsonNode* remote = reader.find("remote");
  if (remote != nullptr && remote->kind == JsonNode::Kind::kText && text != "any") {
    auto address = IpAddress::parse(text);
    if (Status usable = address.ok() ? check_gateway(*address) : Status(); !address.ok() || !usable.ok())
      reader.error("remote", Reason::kConfigBadValue, remote->shown(),
                   "the peer's IP address, or \"any\"" + not_an_address(text, usable));
    // A stand-in for one that is wrong, so that what follows from it is not told as further errors.
    const auto& own = tunnel.group->public_addresses;
    if (address.ok() && std::find(own.begin(), own.end(), *address) != own.end())
      reader.error("remote", Reason::kConfigConflict, remote->shown(),
                   "an address of the peer; this one is our own in group " + tunnel.group->name);
    tunnel.remote = address.ok() ? *address : own.empty() ? IpAddress() : own.front();
  }
  text.clear();
  reader.text("local", text);
  if (!text.empty()) {
    auto address = IpAddress::parse(text);
    const auto& own = tunnel.group->public_addresses;
    if (address.ok() && std::find(own.begin(), own.end(), *address) != own.end())
      tunnel.local = *address;
    else
      reader.error("local", Reason::kConfigBadValue, "\"" + printable(as_bytes(text)) + "\"",
                   "one of the group's public addresses");
  }
  const auto local = tunnel.local_address();
  if (!local || (tunnel.remote && local->family() != tunnel.remote->family()))
    reader.error("remote", Reason::kConfigConflict, tunnel.remote ? to_string(*tunnel.remote) : "any",
                 "an address of a family for which group " + tunnel.group->name + " has a public address");
  auto identity = [&](std::string_view key, std::optional<Identity>& target) {
    std::string id;
    const JsonNode* node = reader.find(key);
    if (node == nullptr || node->kind != JsonNode::Kind::kText) return reader.text(key, id);
    id = node->text;
    auto parsed = Identity::parse(id);
    if (parsed.ok())
      target = std::move(*parsed);
    else
      reader.error(key, Reason::kConfigBadValue, "\"" + printable(as_bytes(id)) + "\"", parsed.error().detail());
  };
  std::optional<Identity> local_id;
  identity("local_id", local_id);
  identity("remote_id", tunnel.remote_id);
  if (!local_id && local) local_id = Identity::parse(to_string(*local)).value();
  const bool local_id_known = local_id.has_value();
  if (local_id) tunnel.local_id = std::move(*local_id);
  if (!tunnel.remote_id && !tunnel.remote && !has_manual_children(reader))
    reader.error("remote_id", Reason::kConfigMissing, {}, "who the peer must be, because its address is not known");
  // An address of our own as the remote one has been reported, or stands for a wrong one.
  const auto& own = tunnel.group->public_addresses;
  const bool is_told =
      !tunnel.remote_id && tunnel.remote && std::find(own.begin(), own.end(), *tunnel.remote) != own.end();
  if (local_id_known && !is_told && !has_manual_children(reader) && meets_itself(tunnel))
    reader.error(reader.find("local_id") != nullptr ? "local_id" : "remote_id", Reason::kConfigConflict,
                 to_string(tunnel.local_id) + ", also the peer's name",
                 "another name than the peer has: otherwise anybody could send our own messages back and be that peer");
}

void Parser::check_ike_policy(ObjectReader& reader, const Tunnel& tunnel) {
  const IkePolicy& policy = *tunnel.ike_policy;
  for (const auto& [key, action] : {std::pair("on_failure", policy.on_failure), {"on_close", policy.on_close}})
    if (action == EndAction::kTraffic && !tunnel.remote && reader.find("remote") != nullptr)
      reader.error("remote", Reason::kConfigConflict, "\"any\"",
                   std::string("the peer's address, because ").append(key) + " of IKE policy " + policy.name +
                       " is traffic: a packet cannot raise a tunnel to an unknown address");
  if (tunnel.children.size() > policy.children_max)
    reader.error("children", Reason::kConfigConflict, std::to_string(tunnel.children.size()) + " children",
                 "at most " + std::to_string(policy.children_max) + ", children_max of IKE policy " + policy.name);
}

namespace {

/// For a tunnel whose group is not known: one with which nothing conflicts.
std::shared_ptr<const TunnelGroup> group_in_place_of_wrong(const ObjectReader& tunnel) {
  auto group = std::make_shared<TunnelGroup>();
  const JsonNode* local = tunnel.find("local");
  if (local != nullptr && local->kind == JsonNode::Kind::kText)
    if (auto address = IpAddress::parse(local->text); address.ok()) group->public_addresses.push_back(*address);
  for (const Family family : {Family::kIpv4, Family::kIpv6})
    group->public_addresses.push_back(IpPrefix::all(family).address);
  group->offload_devices.emplace_back("any");
  return group;
}

}  // namespace

void Parser::read_tunnel(const std::string& name, ObjectReader reader) {
  if (!reader.is_object()) return;
  auto tunnel = std::make_shared<Tunnel>();
  tunnel->name = name;
  tunnel->group = resolve(reader, "group", "a tunnel group", {}, config_.groups);
  // Nothing of it counts with manual keys but how an installation that failed is tried again.
  const bool manual = has_manual_children(reader);
  if (!manual)
    tunnel->ike_policy = resolve(reader, "ike_policy", "an IKE policy", default_ike_policy_, config_.ike_policies);
  tunnel->credential = resolve(reader, "credential", "a credential", {}, config_.credentials);
  if (!tunnel->ike_policy) tunnel->ike_policy = built_in_ike_policy_;
  reader.number("remote_port", tunnel->remote_port);
  if (auto offload = reader.object("offload")) read_tunnel_offload(*offload, *tunnel);
  if (reader.find("mss") != nullptr) read_mss(reader, tunnel->mss.emplace());
  // What is wrong with the rest is told all the same; only what depends on the group's own settings is not.
  const bool placed = tunnel->group != nullptr;
  if (!placed) tunnel->group = group_in_place_of_wrong(reader);
  if (tunnel->offload.value_or(OffloadMode::kNone) != OffloadMode::kNone && tunnel->group->offload_devices.empty())
    reader.error("offload", Reason::kConfigConflict, std::string("\"").append(to_string(*tunnel->offload)) + "\"",
                 "none, because group " + tunnel->group->name + " has no devices");
  read_ends(reader, *tunnel);
  if (tunnel->group->role == Role::kRespond && tunnel->ike_policy->role != Role::kRespond) {
    auto responder = std::make_shared<IkePolicy>(*tunnel->ike_policy);
    responder->role = Role::kRespond;
    tunnel->ike_policy = std::move(responder);
  }
  read_children(reader, *tunnel);
  read_static_routes(reader, *tunnel);
  read_interface_addresses(reader, tunnel->addresses);
  if (!placed) {
    if (!manual) check_ike_policy(reader, *tunnel);
    return;
  }
  if (manual)
    check_manual_tunnel(reader, *tunnel);
  else
    check_negotiated_tunnel(reader, *tunnel);
  if (!manual) check_ike_policy(reader, *tunnel);
  config_.tunnels.emplace(name, std::move(tunnel));
}

void Parser::read_children(ObjectReader& reader, Tunnel& tunnel) {
  if (const JsonNode* children = reader.find("children");
      children != nullptr && children->kind == JsonNode::Kind::kObject) {
    const KeySpec* spec = nullptr;
    for (const KeySpec& each : config_keys("tunnels"))
      if (each.key == "children") spec = &each;
    PolicyOwners owners;
    for (const auto& [child_name, node] : children->members) {
      const std::string pointer = reader.pointer("children") + "/" + pointer_part(child_name);
      if (!is_object_name(child_name))
        errors_.add(node, pointer, Reason::kConfigBadValue, "this name",
                    "1 to 64 of letters, digits, '.', '_' and '-'");
      read_child(ObjectReader(errors_, node, pointer, spec->members), tunnel, child_name, owners);
    }
    if (children->members.empty()) reader.error("children", Reason::kConfigMissing, "no child", "at least one child");
  } else if (children != nullptr) {
    reader.error("children", Reason::kConfigBadValue, children->shown(), "an object of named children");
  }
}

void Parser::read_tunnels() {
  for (const auto& [name, node] : tunnels_)
    read_tunnel(name, ObjectReader(errors_, *node, "/tunnels/" + name, config_keys("tunnels")));
  if (tunnels_.size() > kTunnelsMax)
    errors_.add(*tunnels_.begin()->second, "/tunnels", Reason::kLimitReached,
                std::to_string(tunnels_.size()) + " tunnels", "at most " + std::to_string(kTunnelsMax));
  std::map<std::string, size_t> count;
  for (const auto& [name, tunnel] : config_.tunnels) {
    const TunnelGroup& group = *tunnel->group;
    if (++count[group.name] == group.tunnels_max + size_t{1} && group.tunnels_max != 0)
      errors_.add(*tunnels_[name], "/tunnels/" + name, Reason::kLimitReached,
                  "one tunnel more than tunnels_max of group " + group.name,
                  std::to_string(group.tunnels_max) + " tunnels");
  }
}

ConfigOutcome Parser::run() {
  read_documents();
  for (const JsonNode& document : documents_) read_top(document);
  read_groups();
  make_built_in_policies();
  read_policies();
  check_defaults();
  read_credentials();
  read_tunnels();
  split_.finish(config_.warnings);
  settle_manual_keys(config_, tunnels_, errors_);
  settle_attachments(
      {.groups = open_groups_, .group_nodes = groups_, .tunnel_nodes = tunnels_, .tunnels = config_.tunnels}, errors_,
      config_.warnings);
  read_carriers(config_, carriers_, tunnels_, errors_);
  if (errors_.empty()) add_warnings(config_);
  if (!errors_.empty()) return {nullptr, errors_.take()};
  return {std::make_shared<const Config>(std::move(config_)), {}};
}

}  // namespace

ConfigOutcome parse_config(const std::vector<ConfigFile>& files) { return Parser(files).run(); }

}  // namespace ipsec::policy
