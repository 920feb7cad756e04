#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/limits.h"
#include "ike/actions.h"
#include "policy/config.h"
#include "policy/negotiation.h"

namespace ipsec::agent {

/// The last failed negotiation of each peer, for `ipsecctl explain negotiation`. Bounded in number and in bytes, and in
/// two classes: peers that the configuration knows by tunnel or address, and strangers, who cannot push those out
/// however many they are. One thread: the main one, to which the workers post their reports.
class NegotiationLog {
 public:
  struct Limits {
    size_t known = kFailuresKept;           ///< Entries of configured peers.
    size_t per_owner = kFailuresKeptOfOne;  ///< Of those, for one tunnel or address: identities can be made up.
    size_t strangers = kFailuresKeptOfStrangers;
  };
  struct Entry {
    WallTime time;       ///< Of the last failure.
    std::string tunnel;  ///< Empty: not known, or not yet.
    Endpoint local, remote;
    std::string identity;  ///< Printable. Empty: it had not named itself.
    Reason reason = Reason::kNone;
    std::vector<Field> fields;
    std::shared_ptr<const policy::Negotiation> negotiation;  ///< Null: nothing was compared.
    uint64_t count = 0;                                      ///< Failures since the entry was made.
    std::optional<WallTime> succeeded_at;                    ///< A child came up since.
  };

  explicit NegotiationLog(std::shared_ptr<const policy::Config> config) : NegotiationLog(std::move(config), Limits()) {}
  NegotiationLog(std::shared_ptr<const policy::Config> config, Limits limits);
  /// Another configuration: which addresses are known. What is kept stays.
  void set_config(std::shared_ptr<const policy::Config> config);

  /// Keeps what is a failure of a set-up; notes successes; ignores everything else. Main thread.
  void note(WallTime now, const ike::Report& report);

  /// The newest first, at most `most`. `peer`: an address, an identity or a tunnel; empty: all.
  std::vector<const Entry*> find(const std::string& peer, size_t most) const;
  size_t size() const { return known_.entries.size() + strangers_.entries.size(); }

 private:
  struct Kept {
    std::string key, owner;
    Entry entry;
  };
  /// Newest at the front.
  struct Class {
    std::list<Kept> entries;
    std::unordered_map<std::string, std::list<Kept>::iterator> by_key;
    std::unordered_map<std::string, size_t> of_owner;
  };
  static void erase(Class& from, std::list<Kept>::iterator it);
  static void make_room(Class& in, const std::string& owner, size_t most, size_t per_owner);
  Kept& entry_for(Class& in, const std::string& key, const std::string& owner, size_t most, size_t per_owner);
  void note_success(WallTime now, const ike::Report& report);
  bool is_of(const Entry& entry, const std::string& peer) const;

  std::shared_ptr<const policy::Config> config_;
  Limits limits_;
  std::unordered_map<IpAddress, std::string> tunnel_of_;  ///< By remote address; empty where several tunnels share it.
  Class known_, strangers_;
};

}  // namespace ipsec::agent
