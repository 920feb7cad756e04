#include "ike/snapshot.h"

#include "ike/snapshot_archive.h"
#include "ike/snapshot_check.h"

namespace ipsec {

template <typename A>
void fields(A& a, Endpoint& v) {
  a(v.address, v.port);
}
template <typename A>
void fields(A& a, IpRange& v) {
  a(v.first, v.last);
}

namespace policy {
template <typename A>
void fields(A& a, TrafficSelector& v) {
  a(v.addresses, v.protocol, v.port_first, v.port_last);
}
template <typename A>
void fields(A& a, Transform& v) {
  a(v.type, v.id, v.key_bits);
}
template <typename A>
void fields(A& a, Proposal& v) {
  a(v.protocol, v.transforms);
}
template <typename A>
void fields(A& a, Identity& v) {
  a(v.type, v.data);
}
template <typename A>
void fields(A& a, EspSuite& v) {
  a(v.encryption, v.key_bits, v.integrity, v.esn);
}
template <typename A>
void fields(A& a, ChildSpec& v) {
  a.tunnel(v.tunnel);
  a(v.child, v.spi_in, v.spi_out, v.suite, v.mode, v.local, v.remote, v.local_endpoint, v.remote_endpoint,
    v.udp_encapsulation, v.initiator);
}
}  // namespace policy

namespace ike {

template <typename A>
void fields(A& a, Path& v) {
  a(v.context, v.local, v.remote);
}
template <typename A>
void fields(A& a, KeyPair& v) {
  a(v.group, v.private_key, v.public_value);
}
template <typename A>
void fields(A& a, IkeSuite& v) {
  a(v.encryption, v.key_bits, v.prf, v.integrity, v.group);
}
template <typename A>
void fields(A& a, AuthPayload& v) {
  a(v.method, v.data);
}
template <typename A>
void fields(A& a, RateBucket& v) {
  Instant full_at = v.full_at();
  a(full_at);
  if constexpr (A::kReading) v = RateBucket(full_at);
}
template <typename A>
void fields(A& a, Outstanding& v) {
  a(v.message_id, v.exchange, v.bytes, v.path, v.sent, v.tries, v.next_at, v.interval);
}
template <typename A>
void fields(A& a, Answered& v) {
  a(v.message_id, v.request_hash, v.response, v.path, v.sent_at);
}
template <typename A>
void fields(A& a, MessageWindow& v) {
  a(v.next_request, v.expected, v.outstanding, v.answered);
}

/// A shared spec is written by value and becomes a new one.
template <typename A>
void spec_fields(A& a, std::shared_ptr<const policy::ChildSpec>& v) {
  if constexpr (A::kReading) {
    auto spec = std::make_shared<policy::ChildSpec>();
    a(*spec);
    v = std::move(spec);
  } else {
    a(*v);
  }
}
template <typename A>
void fields(A& a, ChildSa& v) {
  a(v.id);
  spec_fields(a, v.spec);
  a(v.phase, v.outbound, v.used, v.rekey_at, v.until, v.replaces, v.outbound_key);
}
template <typename A>
void fields(A& a, PendingChild& v) {
  spec_fields(a, v.spec);
  a(v.key_in, v.key_out, v.replaces);
}
template <typename A>
void fields(A& a, Task& v) {
  a(v.kind, v.child, v.name, v.reason, v.trigger_local, v.trigger_remote, v.only.local, v.only.remote, v.not_before,
    v.failures, v.is_last);
}
template <typename A>
void fields(A& a, OwnExchange& v) {
  a(v.task, v.stage, v.nonce, v.key_pair, v.offered, v.group_retries, v.spi_in, v.offered_local, v.offered_remote,
    v.lowest_nonce, v.ask, v.deadline, v.child, v.ike_spi, v.rival_nonce, v.rival_child, v.rival_ike);
}
template <typename A>
void fields(A& a, PeerExchange& v) {
  a(v.message_id, v.request_hash, v.path, v.ask, v.deadline, v.child, v.number, v.group, v.public_value, v.nonce,
    v.redundant, v.left_out);
}

/// Something that may be there, on the heap.
template <typename A, typename T>
void pointed_fields(A& a, std::unique_ptr<T>& v) {
  bool present = v != nullptr;
  a(present);
  if (!present) return;
  if constexpr (A::kReading) v = std::make_unique<T>();
  a(*v);
}

template <typename A>
void fields(A& a, AuthWork& v) {
  a(v.stage, v.ask, v.init_request, v.init_response, v.message_id, v.request_hash, v.path, v.peer_id_body,
    v.wanted_local_id, v.method, v.peer_auth, v.offered, v.offered_numbers, v.offered_spis, v.ts_i, v.ts_r, v.has_child,
    v.wants_transport, v.initial_contact, v.own_method, v.own_auth, v.child, v.child_number, v.left_out);
}
template <typename A>
void fields(A& a, AuthContext& v) {
  a(v.init_request, v.init_response, v.ni, v.nr, v.child, v.trigger_local, v.trigger_remote, v.initial_contact,
    v.childless);
}

// The states, each without its keys, which the caller handles.
template <typename A>
void rest_of(A& a, InitPolicyWait& v) {
  a(v.ask, v.request);
}
template <typename A>
void rest_of(A& a, InitAnswered& v) {
  a(v.key_pair, v.suite, v.request);
}
template <typename A>
void rest_of(A& a, AuthResponding& v) {
  if constexpr (A::kReading) v.work = std::make_unique<AuthWork>();
  a(*v.work);
}
template <typename A>
void fields(A& a, UnprotectedHint& v) {
  a(v.reason, v.notice, v.sent);
}
template <typename A>
void rest_of(A& a, InitSent& v) {
  a(v.key_pair, v.ni, v.child, v.trigger_local, v.trigger_remote, v.cookie, v.cookie_retries, v.invalid_ke_retries,
    v.initial_contact, v.hint);
}
template <typename A, typename S>
void context_of(A& a, S& v) {
  if constexpr (A::kReading) v.context = std::make_unique<AuthContext>();
  a(*v.context);
}
template <typename A>
void rest_of(A& a, AuthMaking& v) {
  context_of(a, v);
  a(v.ask);
}
template <typename A>
void rest_of(A& a, AuthSent& v) {
  context_of(a, v);
  a(v.offered, v.offered_local, v.offered_remote, v.spi_in);
}
template <typename A>
void rest_of(A& a, AuthFinishing& v) {
  context_of(a, v);
  a(v.stage, v.ask, v.id_body, v.auth, v.child, v.unused_spi, v.tell_peer);
}
template <typename A>
void rest_of(A& a, Established& v) {
  a(v.children, v.deletes_waiting, v.deletes_sent, v.tasks, v.rekey_at, v.until, v.predecessor, v.replaced, v.requests,
    v.comebacks, v.closing, v.put_off_since, v.keepalive_at, v.waits_for_pace);
  pointed_fields(a, v.own);
  pointed_fields(a, v.peer);
}
template <typename A>
void rest_of(A&, Rekeyed&) {}
template <typename A>
void rest_of(A& a, Deleting& v) {
  a(v.notice, v.sent);
}

/// Never written, and refused when read: no table holds it.
template <typename A>
void rest_of(A&, Ended&) {}

/// Everything but the state.
template <typename A>
void head_of(A& a, IkeSa& v) {
  a(v.id, v.initiator, v.spi_i, v.spi_r, v.path, v.init_remote);
  a.tunnel(v.tunnel);
  a(v.remote_id, v.nat_local, v.nat_remote, v.window, v.created_at, v.last_heard, v.established_at, v.deadline,
    v.successor);
}

template <typename S>
concept AlwaysHasKeys = requires(S state) {
  { state.keys } -> std::same_as<KeySchedule&>;
};

namespace {

void write_keys(SnapshotWriter& out, const KeySchedule& keys) { out(keys.suite(), keys.block()); }

Result<KeySchedule> read_keys(SnapshotReader& in) {
  IkeSuite suite;
  Secret block;
  in(suite, block);
  TRY(in.status(), "keys");
  return KeySchedule::restore(suite, std::move(block));
}

template <typename S>
Status read_state(SnapshotReader& in, State& state) {
  if constexpr (AlwaysHasKeys<S>) {
    TRY_ASSIGN(KeySchedule keys, read_keys(in), "");
    S read{.keys = std::move(keys)};
    rest_of(in, read);
    state = std::move(read);
  } else {
    S read;
    rest_of(in, read);
    if constexpr (std::is_same_v<S, InitAnswered>) {
      bool has_keys = false;
      in(has_keys);
      if (has_keys) {
        TRY_ASSIGN(KeySchedule keys, read_keys(in), "");
        read.keys.emplace(std::move(keys));
      }
    }
    state = std::move(read);
  }
  return in.status();
}

template <size_t... I>
Status read_state_at(SnapshotReader& in, State& state, size_t index, std::index_sequence<I...>) {
  Status status = Error(Reason::kMalformed, "snapshot: state " + std::to_string(index));
  (void)((I == index && (status = read_state<std::variant_alternative_t<I, State>>(in, state), true)) || ...);
  return status;
}

/// The configuration may be another one than that of the snapshot.
class ChildrenCheck {
 public:
  explicit ChildrenCheck(const policy::Tunnel* tunnel) : tunnel_(tunnel) {}
  void name(const std::string& child) { needs(tunnel_, child); }
  void context(const std::unique_ptr<AuthContext>& context) {
    if (!context->childless) name(context->child);
  }
  void spec(const policy::ChildSpec& spec) { needs(spec.tunnel.get(), spec.child); }
  void pending(const std::optional<PendingChild>& child) {
    if (child) spec(*child->spec);
  }
  Status status() && { return std::move(status_); }

 private:
  void needs(const policy::Tunnel* tunnel, const std::string& child) {
    if (tunnel == nullptr || tunnel->child(child) == nullptr) status_ = Error(Reason::kNotFound, "child " + child);
  }
  const policy::Tunnel* tunnel_;
  Status status_;
};

/// Every child that is named is one of its tunnel.
Status check_children(const IkeSa& sa) {
  ChildrenCheck check(sa.tunnel.get());
  if (const auto* state = std::get_if<InitSent>(&sa.state); state != nullptr && !state->child.empty())
    check.name(state->child);
  if (const auto* state = std::get_if<AuthMaking>(&sa.state)) check.context(state->context);
  if (const auto* state = std::get_if<AuthSent>(&sa.state)) check.context(state->context);
  if (const auto* state = std::get_if<AuthResponding>(&sa.state)) check.pending(state->work->child);
  if (const auto* state = std::get_if<AuthFinishing>(&sa.state)) {
    check.context(state->context);
    check.pending(state->child);
  }
  if (const auto* state = std::get_if<Established>(&sa.state)) {
    for (const ChildSa& child : state->children) check.spec(*child.spec);
    if (state->own) check.pending(state->own->child);
    if (state->own && state->own->task.kind == Task::Kind::kCreateChild) check.name(state->own->task.name);
    if (state->own && state->own->task.kind == Task::Kind::kRekeyChild) check.name(state->own->task.name);
    if (state->peer) check.spec(*state->peer->child.spec);
  }
  return std::move(check).status();
}

}  // namespace

Secret write_snapshot(const IkeSa& sa, Instant now) {
  SnapshotWriter out(now);
  out(kSnapshotVersion);
  head_of(out, const_cast<IkeSa&>(sa));  // only read: see SnapshotWriter::put
  out(sa.state.index());
  std::visit(
      [&](auto& state) {
        using S = std::decay_t<decltype(state)>;
        if constexpr (AlwaysHasKeys<S>) write_keys(out, state.keys);
        rest_of(out, state);
        if constexpr (std::is_same_v<S, InitAnswered>) {
          out(state.keys.has_value());
          if (state.keys) write_keys(out, *state.keys);
        }
      },
      const_cast<IkeSa&>(sa).state);
  return out.take();
}

Result<std::unique_ptr<IkeSa>> read_snapshot(const Secret& snapshot, Instant now, const FindTunnel& find_tunnel) {
  SnapshotReader in(snapshot.expose(), now, find_tunnel);
  uint16_t version = 0;
  in(version);
  TRY(in.status(), "version");
  if (version != kSnapshotVersion)
    return Error(Reason::kUnsupported,
                 "version " + std::to_string(version) + ", this program reads " + std::to_string(kSnapshotVersion));
  auto sa = std::make_unique<IkeSa>();
  head_of(in, *sa);
  size_t state = 0;
  in(state);
  TRY(in.status(), "");
  TRY(read_state_at(in, sa->state, state, std::make_index_sequence<std::variant_size_v<State>>()), "");
  TRY(in.finish(), "");
  TRY(check_children(*sa), "");
  if (!sa->is_consistent()) return Error(Reason::kMalformed, "the parts do not fit each other");
  TRY(check_contents(*sa), "");
  return sa;
}

Secret SnapshotWriter::take() {
  Secret secret = Secret::copy_of(out_.view());
  wipe(out_.buffer());
  return secret;
}

ByteView SnapshotReader::get_bytes() {
  auto size = in_.u32();
  if (!size.ok()) return fail(std::move(size).error()), ByteView();
  auto bytes = in_.bytes(*size);
  if (!bytes.ok()) return fail(std::move(bytes).error()), ByteView();
  return *bytes;
}

void SnapshotReader::tunnel(std::shared_ptr<const policy::Tunnel>& tunnel) {
  std::string name;
  get(name);
  if (!ok() || name.empty()) return;
  tunnel = find_tunnel_(name);
  if (!tunnel) fail(Error(Reason::kNotFound, "tunnel " + name));
}

Status SnapshotReader::finish() {
  TRY(status(), "");
  return in_.expect_done();
}

}  // namespace ike
}  // namespace ipsec
