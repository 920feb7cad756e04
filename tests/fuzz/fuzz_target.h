#pragma once

#include <cstddef>
#include <cstdint>

/// What libFuzzer, or replay_main.cc, calls for each input. Returns 0; a finding is a crash or a failed VERIFY.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
