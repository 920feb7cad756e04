#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "ike/sa/ike_sa.h"

/// Two archives with the same interface: one description of each struct (snapshot.cc) serves writing and reading, so
/// that the two cannot differ.
namespace ipsec::ike {

using FindTunnel = std::function<std::shared_ptr<const policy::Tunnel>(const std::string&)>;

template <typename T>
struct IsStrong : std::false_type {};
template <typename Tag, typename T>
struct IsStrong<Strong<Tag, T>> : std::true_type {};

class SnapshotWriter {
 public:
  static constexpr bool kReading = false;
  explicit SnapshotWriter(Instant now) : now_(now) {}

  template <typename... T>
  void operator()(const T&... values) {
    (put(values), ...);
  }
  void tunnel(const std::shared_ptr<const policy::Tunnel>& tunnel) { put(tunnel ? tunnel->name : std::string()); }
  Secret take();

 private:
  template <typename T>
  void put(const T& value);
  void put_bytes(ByteView bytes) {
    out_.u32(static_cast<uint32_t>(bytes.size()));
    out_.bytes(bytes);
  }
  Instant now_;
  ByteWriter out_;
};

class SnapshotReader {
 public:
  static constexpr bool kReading = true;
  SnapshotReader(ByteView bytes, Instant now, const FindTunnel& find_tunnel)
      : in_(bytes), now_(now), find_tunnel_(find_tunnel) {}

  /// Fills the values; after the first error everything stays as it is and `status()` tells.
  template <typename... T>
  void operator()(T&... values) {
    (get(values), ...);
  }
  void tunnel(std::shared_ptr<const policy::Tunnel>& tunnel);
  bool ok() const { return !error_; }
  Status status() const { return error_ ? Status(*error_) : Status(); }
  Status finish();

 private:
  static constexpr uint32_t kElementsMax = 8192;
  template <typename T>
  void get(T& value);
  template <typename T>
  T number();
  ByteView get_bytes();
  void fail(Error error) {
    if (!error_) error_ = std::move(error);
  }
  ByteReader in_;
  Instant now_;
  const FindTunnel& find_tunnel_;
  std::optional<Error> error_;
};

// One overload of `fields` per struct, found by argument-dependent lookup; declared in snapshot.cc.

template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};
template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};

template <typename T>
void SnapshotWriter::put(const T& value) {
  if constexpr (std::is_same_v<T, Bytes>) {
    put_bytes(value);
  } else if constexpr (std::is_same_v<T, Secret>) {
    put_bytes(value.expose());
  } else if constexpr (std::is_same_v<T, std::string>) {
    put_bytes(as_bytes(value));
  } else if constexpr (std::is_same_v<T, Instant>) {
    out_.u64(static_cast<uint64_t>((value - now_).count()));
  } else if constexpr (std::is_same_v<T, Duration>) {
    out_.u64(static_cast<uint64_t>(value.count()));
  } else if constexpr (std::is_same_v<T, IpAddress>) {
    put_bytes(value.bytes());
  } else if constexpr (IsStrong<T>::value) {
    out_.u64(value.value());
  } else if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) {
    out_.u64(static_cast<uint64_t>(value));
  } else if constexpr (IsVector<T>::value) {
    out_.u32(static_cast<uint32_t>(value.size()));
    for (const auto& each : value) put(each);
  } else if constexpr (IsOptional<T>::value) {
    out_.u8(value ? 1 : 0);
    if (value) put(*value);
  } else {
    // Writing changes nothing: the same description takes a mutable reference when it reads.
    fields(*this, const_cast<T&>(value));
  }
}

template <typename T>
T SnapshotReader::number() {
  auto value = in_.u64();
  if (!value.ok()) return fail(std::move(value).error()), T{};
  return static_cast<T>(*value);
}

template <typename T>
void SnapshotReader::get(T& value) {
  if (!ok()) return;
  if constexpr (std::is_same_v<T, Bytes>) {
    const ByteView bytes = get_bytes();
    value.assign(bytes.begin(), bytes.end());
  } else if constexpr (std::is_same_v<T, Secret>) {
    value = Secret::copy_of(get_bytes());
  } else if constexpr (std::is_same_v<T, std::string>) {
    value = std::string(as_text(get_bytes()));
  } else if constexpr (std::is_same_v<T, Instant>) {
    value = now_ + Duration(number<int64_t>());
  } else if constexpr (std::is_same_v<T, Duration>) {
    value = Duration(number<int64_t>());
  } else if constexpr (std::is_same_v<T, IpAddress>) {
    auto address = IpAddress::from_bytes(get_bytes());
    if (!address.ok()) return fail(std::move(address).error());
    value = *address;
  } else if constexpr (IsStrong<T>::value) {
    value = T(number<typename T::underlying>());
  } else if constexpr (std::is_same_v<T, bool>) {
    value = number<uint64_t>() != 0;
  } else if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) {
    value = number<T>();
  } else if constexpr (IsVector<T>::value) {
    auto count = in_.u32();
    if (!count.ok() || *count > kElementsMax) return fail(Error(Reason::kMalformed, "snapshot: list"));
    value.resize(*count);
    for (auto& each : value) get(each);
  } else if constexpr (IsOptional<T>::value) {
    auto present = in_.u8();
    if (!present.ok()) return fail(std::move(present).error());
    value.reset();
    if (*present != 0) get(value.emplace());
  } else {
    fields(*this, value);
  }
}

}  // namespace ipsec::ike
