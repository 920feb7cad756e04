#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "policy/base/result.h"

namespace ipsec::agent::control {

/// Cuts a stream of bytes into messages that end with a NUL byte. Holds at most `bytes_max` unread bytes.
class FrameReader {
 public:
  explicit FrameReader(size_t bytes_max) : bytes_max_(bytes_max) {}

  /// Error kLimitReached when the sender is too far ahead; nothing is stored then.
  Status add(std::string_view bytes);
  /// The next complete message without its NUL, if there is one.
  std::optional<std::string> next();
  size_t buffered() const { return buffer_.size() - start_; }

 private:
  size_t bytes_max_;
  std::string buffer_;
  size_t start_ = 0;    ///< What lies before has been handed out.
  size_t scanned_ = 0;  ///< No NUL between `start_` and here.
};

/// Messages that wait to be written. Who fills it checks `size()`.
class FrameWriter {
 public:
  /// Appends the message and its NUL.
  void add(std::string_view message);
  std::string_view pending() const { return std::string_view(buffer_).substr(start_); }
  /// The first `count` bytes have been written.
  void written(size_t count);
  size_t size() const { return buffer_.size() - start_; }

 private:
  std::string buffer_;
  size_t start_ = 0;
};

}  // namespace ipsec::agent::control
