#include "agent/control/frames.h"
#include "agent/control/limits.h"
#include "agent/control/message.h"
#include "agent/control/methods.h"
#include "fuzz_target.h"
#include "policy/base/bytes.h"
#include "policy/base/verify.h"

// Bytes as a client sends them, cut into messages and taken apart. However the bytes arrive, the messages are the same;
// a call or reply that is understood is understood again when it is written.

namespace {

using namespace ipsec;
using namespace ipsec::agent::control;

std::vector<std::string> messages_of(std::string_view bytes, size_t piece) {
  FrameReader reader(kRequestBytesMaxReader);
  std::vector<std::string> messages;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    VERIFY(reader.add(bytes.substr(at, piece)).ok());
    while (auto message = reader.next()) messages.push_back(std::move(*message));
  }
  VERIFY(reader.buffered() <= bytes.size());
  return messages;
}

void check_call(std::string_view text) {
  const auto call = parse_call(text);
  if (!call.ok()) return;
  const auto again = parse_call(write_call(*call));
  VERIFY(again.ok() && again->method == call->method && again->more == call->more && again->oneway == call->oneway);
  if (const Method* method = find_method(call->method)) (void)first_bad_parameter(*method, call->parameters);
}

void check_reply(std::string_view text) {
  const auto reply = parse_reply(text);
  if (!reply.ok()) return;
  const auto again = parse_reply(write_reply(*reply));
  VERIFY(again.ok() && again->error == reply->error && again->continues == reply->continues);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > kRequestBytesMaxReader) return 0;
  const std::string_view bytes = as_text({data + 1, size - 1});
  const std::vector<std::string> messages = messages_of(bytes, bytes.size() + 1);
  VERIFY(messages == messages_of(bytes, size_t{data[0]} + 1));
  for (const std::string& each : messages) {
    check_call(each);
    check_reply(each);
  }
  return 0;
}
