#include "tests/support/insider.h"

#include <doctest/doctest.h>

#include "ike/snapshot.h"

namespace ipsec::testing {

using namespace ipsec::ike;

bool Read::has_only(NotifyType type) const {
  return payloads.notifies.size() == 1 && payloads.notifies[0].type == type && !payloads.sa && !payloads.auth &&
         payloads.deletes.empty();
}

const Read* Reply::operator->() const {
  REQUIRE(read_);
  return &*read_;
}

Bytes raw_payload(PayloadType next, uint8_t flags, ByteView body) {
  ByteWriter out(4 + body.size());
  out.u8(static_cast<uint8_t>(next));
  out.u8(flags);
  out.u16(static_cast<uint16_t>(4 + body.size()));
  out.bytes(body);
  return std::move(out).take();
}

Read read_plain(ByteView datagram) {
  auto header = Header::parse(datagram);
  REQUIRE(header.ok());
  const ByteView chain = datagram.subspan(Header::kBytes);
  auto payloads = parse_payloads(header->next_payload, chain);
  REQUIRE(payloads.ok());
  return {*header, std::move(*payloads), Bytes(chain.begin(), chain.end()), header->next_payload};
}

Insider::Insider(World& world, Host& host) : world_(world), other_(&host == &world.a ? world.b : world.a) {
  const IkeSaId id = host.engine().ike_sas().front();
  const Secret snapshot = *host.engine().snapshot(world.now, id);
  auto read = read_snapshot(snapshot, world.now, [&](const std::string&) { return host.tunnel; });
  REQUIRE(read.ok());
  sa_ = std::move(*read);
  REQUIRE(sa_->keys() != nullptr);
  next_id = sa_->window.next_request;
  path = {.context = sa_->path.context, .local = sa_->path.remote, .remote = sa_->path.local};
}

Read Insider::read(ByteView datagram) const {
  Read outer = read_plain(datagram);
  REQUIRE(outer.payloads.encrypted);
  const bool from_us = outer.header.from_initiator() == sa_->initiator;
  auto plain = crypto_.open(sa_->keys()->cipher_keys(from_us ? sa_->initiator : !sa_->initiator), datagram,
                            Header::kBytes + outer.payloads.encrypted->offset);
  REQUIRE(plain.ok());
  const PayloadType first = outer.payloads.encrypted->inner;
  auto inner = parse_payloads(first, *plain);
  REQUIRE(inner.ok());
  return {outer.header, std::move(*inner), std::move(*plain), first};
}

Bytes Insider::seal(Exchange exchange, uint8_t flags, uint32_t message_id, PayloadType first, ByteView chain) {
  const uint8_t own = sa_->initiator ? Header::kFlagInitiator : uint8_t{0};
  ByteWriter out(Header::kBytes + chain.size());
  Header{.initiator_spi = sa_->spi_i,
         .responder_spi = sa_->spi_r,
         .next_payload = PayloadType::kEncrypted,
         .version = version,
         .exchange = exchange,
         .flags = static_cast<uint8_t>(((flags | own) & and_flags) | or_flags),
         .message_id = message_id}
      .write(out);
  out.bytes(raw_payload(first, 0, {}));
  REQUIRE(crypto_.seal(sa_->keys()->cipher_keys(sa_->initiator), chain, random_, out.buffer()).ok());
  return std::move(out).take();
}

bool Insider::rekey_ike() {
  const IkeSuite suite = sa_->keys()->suite();
  const IkeSpi spi(0x7000000000000000 | ++rekeys_ << 8 | 1);
  ByteWriter own_spi(8);
  own_spi.u64(spi.value());
  Bytes nonce(32);
  random_.fill(nonce);
  const auto pair = crypto_.generate(suite.group, random_);
  REQUIRE(pair.ok());
  SaPayload offer;
  offer.proposals.push_back({.number = 1, .spi = std::move(own_spi).take(), .proposal = suite.to_proposal()});
  PayloadWriter request;
  request.add(offer);
  request.add(NoncePayload{nonce});
  request.add(KePayload{pair->group, pair->public_value});
  const Reply answer = ask(Exchange::kCreateChildSa, request);
  REQUIRE(answer);
  if (!answer->payloads.sa) return false;
  const IkeSpi theirs(ByteReader(answer->payloads.sa->proposals[0].spi).u64().value());
  auto shared = crypto_.shared_secret(*pair, answer->payloads.ke->public_value);
  REQUIRE(shared.ok());
  auto keys =
      sa_->keys()->rekey(crypto_, suite, {nonce, answer->payloads.nonce->nonce, spi, theirs}, std::move(*shared));
  REQUIRE(keys.ok());
  *sa_->keys() = std::move(*keys);
  sa_->id = IkeSaId(spi.value());
  sa_->initiator = true;
  sa_->spi_i = spi;
  sa_->spi_r = theirs;
  next_id = 0;
  return true;
}

std::vector<Bytes> Insider::sent() {
  other_.drain(world_.now);
  std::vector<Bytes> datagrams;
  for (auto& [to, bytes] : other_.outbox) datagrams.push_back(std::move(bytes));
  other_.outbox.clear();
  return datagrams;
}

std::vector<Bytes> Insider::deliver(const Bytes& datagram) {
  other_.engine().receive(world_.now, path, datagram);
  return sent();
}

Reply Insider::ask(Exchange exchange, PayloadType first, ByteView chain) {
  const uint32_t id = next_id++;
  for (const Bytes& each : deliver(seal(exchange, 0, id, first, chain))) {
    Read read_one = read(each);
    if (read_one.header.is_response() && read_one.header.message_id == id) return Reply(std::move(read_one));
  }
  return {};
}

Reply Insider::ask(Exchange exchange, const PayloadWriter& payloads) {
  return ask(exchange, payloads.first(), payloads.view());
}

void Insider::answer(const Read& request, PayloadType first, ByteView chain) {
  other_.engine().receive(
      world_.now, path, seal(request.header.exchange, Header::kFlagResponse, request.header.message_id, first, chain));
  other_.drain(world_.now);
}

void Insider::answer(const Read& request, const PayloadWriter& payloads) {
  answer(request, payloads.first(), payloads.view());
}

}  // namespace ipsec::testing
