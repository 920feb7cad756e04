#include "netlink/message.h"

#include <linux/netlink.h>

#include <algorithm>

#include "policy/base/secret.h"
#include "policy/base/verify.h"

namespace ipsec::netlink {
namespace {

constexpr size_t kUsualBytes = 1024;  // an SA with the largest keys and a replay window of 1024 fits

void store(Bytes& buffer, size_t at, ByteView value) {
  VERIFY(at + value.size() <= buffer.size());
  std::copy(value.begin(), value.end(), buffer.begin() + static_cast<ptrdiff_t>(at));
}

}  // namespace

Message::Message(uint16_t type, uint16_t flags)
    : type_(type), flags_(static_cast<uint16_t>(flags | NLM_F_REQUEST | NLM_F_ACK)) {
  buffer_.reserve(kUsualBytes);
  buffer_.resize(sizeof(nlmsghdr));
  patch_header();
}

Message& Message::operator=(Message&& other) noexcept {
  if (this == &other) return *this;
  wipe(buffer_);
  type_ = other.type_, flags_ = other.flags_, sequence_ = other.sequence_, sender_ = other.sender_;
  buffer_ = std::move(other.buffer_);
  other.buffer_.clear();
  return *this;
}

Message::~Message() { wipe(buffer_); }

void Message::append(ByteView bytes) {
  if (buffer_.size() + bytes.size() > buffer_.capacity()) {
    // Growing by hand, because the vector would leave the old copy, keys and all, in freed memory.
    Bytes larger;
    larger.reserve(2 * buffer_.capacity() + bytes.size());
    larger.assign(buffer_.begin(), buffer_.end());
    wipe(buffer_);
    buffer_.swap(larger);
  }
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  patch_header();
}

void Message::pad() {
  static constexpr std::array<uint8_t, 4> kZeros{};
  append({kZeros.data(), aligned(buffer_.size()) - buffer_.size()});
}

void Message::patch_header() {
  const nlmsghdr header{.nlmsg_len = static_cast<uint32_t>(buffer_.size()),
                        .nlmsg_type = type_,
                        .nlmsg_flags = flags_,
                        .nlmsg_seq = sequence_,
                        .nlmsg_pid = sender_};
  store(buffer_, 0, to_bytes(header));
}

void Message::attribute_header(uint16_t attribute, size_t value_bytes) {
  VERIFY(value_bytes <= UINT16_MAX - sizeof(nlattr));
  append(to_bytes(nlattr{.nla_len = static_cast<uint16_t>(sizeof(nlattr) + value_bytes), .nla_type = attribute}));
}

void Message::put(uint16_t attribute, ByteView value) {
  attribute_header(attribute, value.size());
  append(value);
  pad();
}

void Message::put_text(uint16_t attribute, std::string_view text) {
  static constexpr uint8_t kTerminator = 0;
  attribute_header(attribute, text.size() + 1);
  append(as_bytes(text));
  append({&kTerminator, 1});
  pad();
}

void Message::nest(uint16_t attribute, const std::function<void()>& fill) {
  const size_t start = buffer_.size();
  attribute_header(attribute, 0);
  fill();
  const size_t length = buffer_.size() - start;
  VERIFY(length <= UINT16_MAX);
  store(buffer_, start,
        to_bytes(nlattr{.nla_len = static_cast<uint16_t>(length),
                        .nla_type = static_cast<uint16_t>(attribute | NLA_F_NESTED)}));
}

void Message::set_sender(uint32_t port) {
  sender_ = port;
  patch_header();
}

void Message::set_sequence(uint32_t sequence) {
  sequence_ = sequence;
  patch_header();
}

void Message::drop_acknowledgement() {
  flags_ = static_cast<uint16_t>(flags_ & ~NLM_F_ACK);
  patch_header();
}

void Message::add_flags(uint16_t flags) {
  flags_ = static_cast<uint16_t>(flags_ | flags);
  patch_header();
}

Result<Received> take_message(ByteView& datagram) {
  TRY_ASSIGN(const auto header, from_bytes<nlmsghdr>(datagram), "netlink header");
  if (header.nlmsg_len < sizeof(nlmsghdr) || header.nlmsg_len > datagram.size())
    return Error(Reason::kMalformed, "netlink message of " + std::to_string(header.nlmsg_len) + " bytes in " +
                                         std::to_string(datagram.size()));
  const Received message{.type = header.nlmsg_type,
                         .flags = header.nlmsg_flags,
                         .sequence = header.nlmsg_seq,
                         .payload = datagram.subspan(sizeof(nlmsghdr), header.nlmsg_len - sizeof(nlmsghdr))};
  datagram = datagram.subspan(std::min(datagram.size(), aligned(header.nlmsg_len)));
  return message;
}

Status Attributes::for_each(ByteView bytes, const std::function<void(uint16_t, ByteView)>& each) {
  while (!bytes.empty()) {
    TRY_ASSIGN(const auto header, from_bytes<nlattr>(bytes), "attribute header");
    if (header.nla_len < sizeof(nlattr) || header.nla_len > bytes.size())
      return Error(Reason::kMalformed, "attribute " + std::to_string(header.nla_type & NLA_TYPE_MASK) + " of " +
                                           std::to_string(header.nla_len) + " bytes in " +
                                           std::to_string(bytes.size()));
    each(static_cast<uint16_t>(header.nla_type & NLA_TYPE_MASK),
         bytes.subspan(sizeof(nlattr), header.nla_len - sizeof(nlattr)));
    bytes = bytes.subspan(std::min(bytes.size(), aligned(header.nla_len)));
  }
  return {};
}

Result<Attributes> Attributes::parse(ByteView bytes) {
  Attributes parsed;
  TRY(for_each(bytes,
               [&](uint16_t type, ByteView value) {
                 if (type < kTypes) parsed.values_[type] = value;
               }),
      "");
  return parsed;
}

std::string Attributes::text(uint16_t type) const {
  const auto value = find(type);
  if (!value) return {};
  const std::string_view whole = as_text(*value);
  return std::string(whole.substr(0, whole.find('\0')));
}

Result<Attributes> Attributes::nested(uint16_t type) const { return parse(find(type).value_or(ByteView{})); }

Error Attributes::wrong_size(uint16_t type, size_t need, size_t have) {
  return Error(Reason::kMalformed, "attribute " + std::to_string(type) + ": need " + std::to_string(need) +
                                       " bytes, have " + std::to_string(have));
}

Result<Attributes> attributes_behind(ByteView payload, size_t header_bytes) {
  if (payload.size() < header_bytes)
    return Error(Reason::kTruncated,
                 "need " + std::to_string(header_bytes) + " bytes, have " + std::to_string(payload.size()));
  return Attributes::parse(payload.subspan(std::min(payload.size(), aligned(header_bytes))));
}

}  // namespace ipsec::netlink
