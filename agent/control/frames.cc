#include "agent/control/frames.h"

namespace ipsec::agent::control {

namespace {

/// Gives memory back after a large message.
void release_if_empty(std::string& buffer) {
  constexpr size_t kKeep = 64 << 10;
  buffer.clear();
  if (buffer.capacity() > kKeep) std::string().swap(buffer);
}

/// Moving the rest to the front costs its length, so it waits until the front is at least as long.
bool worth_moving(size_t start, size_t size) { return start >= 4096 && start >= size - start; }

}  // namespace

Status FrameReader::add(std::string_view bytes) {
  if (bytes.size() > bytes_max_ - buffered())
    return Error(Reason::kLimitReached, "more than " + std::to_string(bytes_max_) + " bytes of requests");
  if (worth_moving(start_, buffer_.size())) {
    buffer_.erase(0, start_);
    scanned_ -= start_;
    start_ = 0;
  }
  buffer_.append(bytes);
  return {};
}

std::optional<std::string> FrameReader::next() {
  const size_t end = buffer_.find('\0', scanned_);
  if (end == std::string::npos) {
    scanned_ = buffer_.size();
    return std::nullopt;
  }
  std::string message;
  if (start_ == 0 && end + 1 == buffer_.size()) {
    // The only one, as large ones are: a copy would take its time.
    message.swap(buffer_);
    message.pop_back();
    scanned_ = 0;
    return message;
  }
  message = buffer_.substr(start_, end - start_);
  start_ = scanned_ = end + 1;
  if (start_ == buffer_.size()) {
    release_if_empty(buffer_);
    start_ = scanned_ = 0;
  }
  return message;
}

void FrameWriter::add(std::string_view message) {
  buffer_.append(message);
  buffer_.push_back('\0');
}

void FrameWriter::written(size_t count) {
  start_ += count;
  if (start_ == buffer_.size()) {
    release_if_empty(buffer_);
    start_ = 0;
  } else if (worth_moving(start_, buffer_.size())) {
    buffer_.erase(0, start_);
    start_ = 0;
  }
}

}  // namespace ipsec::agent::control
