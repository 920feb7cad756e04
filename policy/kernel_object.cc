#include "policy/kernel_object.h"

namespace ipsec::policy {
namespace {

struct ObjectOf {
  KernelObject operator()(const AddSa& each) const { return each.sa.key; }
  KernelObject operator()(const DeleteSa& each) const { return each.key; }
  KernelObject operator()(const ReadSa& each) const { return each.key; }
  KernelObject operator()(const AddPolicy& each) const { return each.policy.key; }
  KernelObject operator()(const UpdatePolicy& each) const { return each.policy.key; }
  KernelObject operator()(const DeletePolicy& each) const { return each.key; }
  KernelObject operator()(const AddLink& each) const { return LinkName{each.link.name}; }
  KernelObject operator()(const UpdateLink& each) const { return LinkName{each.link.name}; }
  KernelObject operator()(const DeleteLink& each) const { return LinkName{each.name}; }
  KernelObject operator()(const AddRoute& each) const { return RouteKey::of(each.route); }
  KernelObject operator()(const DeleteRoute& each) const { return RouteKey::of(each.route); }
  KernelObject operator()(const AddRule& each) const { return each.rule; }
  KernelObject operator()(const DeleteRule& each) const { return each.rule; }
  KernelObject operator()(const SetPacketRules&) const { return AllPacketRules{}; }
  KernelObject operator()(const ChangePacketRules&) const { return AllPacketRules{}; }
};

}  // namespace

KernelObject object_of(const KernelChange& change) { return std::visit(ObjectOf{}, change); }

}  // namespace ipsec::policy
