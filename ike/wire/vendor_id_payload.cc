#include "ike/wire/vendor_id_payload.h"

namespace ipsec::ike {

Result<VendorIdPayload> VendorIdPayload::parse(ByteReader body) {
  const ByteView id = body.rest();
  return VendorIdPayload{.id = {id.begin(), id.end()}};
}

void VendorIdPayload::write(ByteWriter& out) const { out.bytes(id); }

}  // namespace ipsec::ike
