#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "agent/control/descriptor.h"
#include "agent/control/frames.h"
#include "agent/control/message.h"
#include "policy/base/result.h"

namespace ipsec::agent::control {

/// The other end of the control socket, for programs that may block.
class Client {
 public:
  /// Error kNotFound: no daemon is there. kPermission: this user may not connect. Both say what to do.
  static Result<Client> connect(const std::string& path);
  /// Over a socket that is connected already.
  explicit Client(Descriptor socket);

  struct Wait {
    /// Longest silence before error kTimeout; zero: no limit.
    std::chrono::milliseconds longest{10000};
    /// Called about every 100 ms while waiting, with the time since the call was sent or the last reply came.
    std::function<void(std::chrono::milliseconds)> progress = {};
  };
  /// Calls "Status" and the like of our interface (or a qualified name) and waits for the only reply. An error that the
  /// daemon answers is in the reply; an Error is the connection's (kTimeout, kCancelled when the daemon
  /// closed it, kMalformed, kSystemCall).
  Result<Reply> call(std::string_view method, nlohmann::json parameters, const Wait& wait);

  /// Called for each reply; kOff ends.
  using EachReply = std::function<Flag(const Reply&)>;
  /// The same with `more`: until the last reply, or until `each` does not want more (the connection is of no use then).
  Status stream(std::string_view method, nlohmann::json parameters, const Wait& wait, const EachReply& each);

 private:
  Status send(const Call& call, const Wait& wait);
  Result<Reply> receive(const Wait& wait);
  enum class Ready : uint8_t { kRead, kWrite };
  Status await(Ready what, const Wait& wait);

  Descriptor socket_;
  FrameReader input_;
};

}  // namespace ipsec::agent::control
