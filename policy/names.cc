#include "policy/kernel_model.h"

// The words of configuration, command line and logs for the enumerations of this folder.
namespace ipsec::policy {

std::string_view to_string(Role role) {
  switch (role) {
    case Role::kInitiate: return "initiate";
    case Role::kRespond: return "respond";
    case Role::kBoth: return "both";
  }
  return {};
}

std::string_view to_string(StartMode mode) {
  switch (mode) {
    case StartMode::kNow: return "now";
    case StartMode::kTraffic: return "traffic";
    case StartMode::kRespond: return "respond";
  }
  return {};
}

std::string_view to_string(Attachment attachment) {
  switch (attachment) {
    case Attachment::kInterface: return "interface";
    case Attachment::kPolicy: return "policy";
    case Attachment::kAuto: return "auto";
  }
  return {};
}

std::string_view to_string(InterfaceScope scope) {
  switch (scope) {
    case InterfaceScope::kTunnel: return "tunnel";
    case InterfaceScope::kExternal: return "external";
  }
  return {};
}

std::string_view to_string(EspMode mode) {
  switch (mode) {
    case EspMode::kTunnel: return "tunnel";
    case EspMode::kTransport: return "transport";
  }
  return {};
}

std::string_view to_string(ExceptionAction action) {
  switch (action) {
    case ExceptionAction::kBypass: return "bypass";
    case ExceptionAction::kDiscard: return "discard";
  }
  return {};
}

std::string_view to_string(OffloadPin pin) {
  switch (pin) {
    case OffloadPin::kNone: return "none";
    case OffloadPin::kNic: return "nic";
    case OffloadPin::kSoftware: return "software";
  }
  return "";
}

std::string_view to_string(OffloadMode mode) {
  switch (mode) {
    case OffloadMode::kNone: return "none";
    case OffloadMode::kCrypto: return "crypto";
    case OffloadMode::kPacket: return "packet";
    case OffloadMode::kAuto: return "auto";
  }
  return {};
}

std::string_view to_string(DpdMode mode) {
  switch (mode) {
    case DpdMode::kActive: return "active";
    case DpdMode::kReplyOnly: return "reply_only";
  }
  return {};
}

std::string_view to_string(EndAction action) {
  switch (action) {
    case EndAction::kRestart: return "restart";
    case EndAction::kTraffic: return "traffic";
    case EndAction::kClear: return "clear";
  }
  return {};
}

std::string_view to_string(DuplicatePolicy policy) {
  switch (policy) {
    case DuplicatePolicy::kReplace: return "replace";
    case DuplicatePolicy::kKeep: return "keep";
    case DuplicatePolicy::kRefuse: return "refuse";
  }
  return {};
}

std::string_view to_string(ChildlessPolicy policy) {
  switch (policy) {
    case ChildlessPolicy::kRefuse: return "refuse";
    case ChildlessPolicy::kAllow: return "allow";
    case ChildlessPolicy::kForce: return "force";
  }
  return {};
}

std::string_view to_string(ChildOverload overload) {
  switch (overload) {
    case ChildOverload::kRefuse: return "refuse";
    case ChildOverload::kReplaceOldest: return "replace_oldest";
  }
  return {};
}

std::string_view to_string(IdleRekey idle) {
  switch (idle) {
    case IdleRekey::kRekey: return "rekey";
    case IdleRekey::kEnd: return "end";
  }
  return {};
}

std::string_view to_string(LinkKind kind) {
  switch (kind) {
    case LinkKind::kXfrm: return "xfrm";
    case LinkKind::kExternal: return "xfrm external";
    case LinkKind::kVrf: return "vrf";
    case LinkKind::kGre: return "gre";
    case LinkKind::kIpIp: return "ipip";
  }
  return {};
}

std::string_view to_string(OffloadKind kind) {
  switch (kind) {
    case OffloadKind::kNone: return "none";
    case OffloadKind::kCrypto: return "crypto";
    case OffloadKind::kPacket: return "packet";
  }
  return {};
}

std::string_view to_string(Direction direction) {
  switch (direction) {
    case Direction::kIn: return "in";
    case Direction::kOut: return "out";
    case Direction::kForward: return "fwd";
  }
  return {};
}

}  // namespace ipsec::policy
