#pragma once

#include <memory>
#include <optional>
#include <string>

#include "netlink/nft_codec.h"
#include "netlink/socket.h"

namespace ipsec::netlink {

/// Our table of packet rules in one namespace, over a socket of its own. What was put there is remembered, so that what
/// others do to it shows; of a table that an earlier run has left nothing is known but that it is ours.
class NftTable {
 public:
  static Result<std::unique_ptr<NftTable>> open(const std::string& netns);

  enum class Standing : uint8_t { kNone, kOurs, kForeign };
  /// Asks the kernel whose the table of our name is.
  Result<Standing> look();

  /// Everything in one transaction. Empty rules remove the table; one that is gone already is success.
  Status put(const policy::PacketRules& rules);
  /// Elements only, where the chains for them are there, else everything. Needs a put() before.
  Status change(const policy::PacketRuleChange& change);
  /// Whether change() may be used.
  bool is_known() const { return known_; }
  /// What stands; nothing when there is no table.
  Result<std::optional<policy::PacketRules>> read();

  /// Readable when somebody has changed something of nf_tables in the namespace.
  int fd() const { return news_.fd(); }
  /// Whether somebody else has changed our table since the last call, or may have.
  bool take_disturbed();

 private:
  NftTable(Socket socket, Socket news) : socket_(std::move(socket)), news_(std::move(news)) {}
  Result<Bytes> read_structure();

  Socket socket_, news_;
  policy::PacketRules rules_;  // as put there last
  NftStructure structure_;     // of the table: may be for more than rules_ needs
  Bytes bytes_;                // chains and rules as the kernel has shown them since
  bool known_ = false;
};

}  // namespace ipsec::netlink
