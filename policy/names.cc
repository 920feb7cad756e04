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

std::string_view to_string(EspMode mode) {
  switch (mode) {
    case EspMode::kTunnel: return "tunnel";
    case EspMode::kTransport: return "transport";
  }
  return {};
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
