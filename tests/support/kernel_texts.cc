#include "tests/support/kernel_texts.h"

#include "policy/drift.h"

namespace ipsec::testing {

using namespace ipsec::policy;

std::string hex(uint32_t value) {
  ByteWriter writer(4);
  writer.u32(value);
  return "0x" + to_hex(writer.view());
}

std::string selector(const PolicyKey& key) {
  std::string text(to_string(key.direction));
  text.append(" ").append(to_string(key.source)).append(" ").append(to_string(key.destination));
  if (key.protocol != 0) text.append(" proto ").append(std::to_string(key.protocol));
  if (key.source_port_mask != 0) text.append(" sport ").append(std::to_string(key.source_port));
  if (key.destination_port_mask != 0) text.append(" dport ").append(std::to_string(key.destination_port));
  if (key.user != 0) text.append(" user ").append(std::to_string(key.user));
  return text;
}

std::string text_of(const SaConfig& sa) {
  std::string text = std::string(to_string(sa.direction)) + " " + hex(sa.key.spi.value()) + " ";
  if (sa.offload.kind == OffloadKind::kNone) return text + "software";
  return text.append(to_string(sa.offload.kind)).append(" ").append(sa.offload.device);
}

std::string text_of(const PolicyConfig& policy) {
  std::string text = selector(policy.key) + " reqid " + hex(policy.reqid);
  return policy.offload.kind == OffloadKind::kNone ? text : text + " on " + policy.offload.device;
}

std::string text_of(const RouteConfig& route) {
  return to_string(route.destination) +
         (route.kind == RouteKind::kUnreachable ? " unreachable" : " dev " + route.device) + " metric " +
         std::to_string(route.metric);
}

namespace {

struct Describe {
  std::string operator()(const AddSa& each) const { return "add-sa " + text_of(each.sa); }
  std::string operator()(const DeleteSa& each) const { return "delete-sa " + hex(each.key.spi.value()); }
  std::string operator()(const ReadSa& each) const { return "read-sa " + hex(each.key.spi.value()); }
  std::string operator()(const AddPolicy& each) const { return "add-policy " + text_of(each.policy); }
  std::string operator()(const UpdatePolicy& each) const { return "update-policy " + text_of(each.policy); }
  std::string operator()(const DeletePolicy& each) const { return "delete-policy " + selector(each.key); }
  std::string operator()(const AddLink& each) const { return "add-link " + each.link.name; }
  std::string operator()(const UpdateLink& each) const { return "update-link " + each.link.name; }
  std::string operator()(const DeleteLink& each) const { return "delete-link " + each.name; }
  std::string operator()(const AddRoute& each) const { return "add-route " + text_of(each.route); }
  std::string operator()(const DeleteRoute& each) const { return "delete-route " + text_of(each.route); }
  std::string operator()(const SetPacketRules& each) const { return "set-rules " + to_string(each.rules); }
  std::string operator()(const ChangePacketRules& each) const {
    PacketRules changed;
    each.change.apply_to(changed);
    return "change-rules " + to_string(changed);
  }
  std::string operator()(const AddRule& each) const { return "add-rule " + object_text(each.rule); }
  std::string operator()(const DeleteRule& each) const { return "delete-rule " + object_text(each.rule); }
};

}  // namespace

std::string describe(const KernelChange& change) { return std::visit(Describe{}, change); }

}  // namespace ipsec::testing
