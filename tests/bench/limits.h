#pragma once

#include <string>
#include <vector>

/// What no responder can avoid, measured in the same process: the primitives of one handshake, and its datagrams.
namespace ipsec::bench {

struct Primitive {
  std::string name;
  double microseconds = 0;  ///< For all that one handshake needs of it.
};

/// X25519 (key pair and shared secret), key derivation, AUTH, AEAD of the message sizes, NAT hashes.
std::vector<Primitive> measure_crypto(size_t count);

/// User and system time of receiving two datagrams and sending two of a handshake's sizes, over loopback.
double measure_datagrams(size_t count);

/// CPU time of this thread, in microseconds.
double thread_cpu();
/// The same with the part that the kernel works for it.
double process_cpu();

}  // namespace ipsec::bench
