#pragma once

#include "policy/config.h"
#include "policy/config_reader.h"

/// The policies of a configuration, but for their proposals: from an object of the document to the typed value.
namespace ipsec::policy {

void read_ike_policy(ObjectReader& reader, IkePolicy& policy);
void read_child_policy(ObjectReader& reader, ChildPolicy& policy);
void read_admission(ObjectReader& reader, AdmissionLimits& limits);

}  // namespace ipsec::policy
