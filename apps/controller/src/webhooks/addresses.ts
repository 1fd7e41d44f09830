/** Where a webhook may go. Targets live in private networks, so those are allowed; what hands out a machine's own identity is not. */
import { BlockList, isIP, isIPv4 } from "node:net";

const REFUSED = new BlockList();
// Link-local, where clouds serve the metadata and credentials of the machine.
REFUSED.addSubnet("169.254.0.0", 16, "ipv4");
REFUSED.addSubnet("fe80::", 10, "ipv6");
// The same outside of link-local: AWS and Google over IPv6, Azure's wire server, Alibaba, Oracle.
REFUSED.addAddress("fd00:ec2::254", "ipv6");
REFUSED.addAddress("fd20:ce::254", "ipv6");
REFUSED.addAddress("168.63.129.16", "ipv4");
REFUSED.addAddress("100.100.100.200", "ipv4");
REFUSED.addAddress("192.0.0.192", "ipv4");
// "This host", multicast and broadcast: no target.
REFUSED.addSubnet("0.0.0.0", 8, "ipv4");
REFUSED.addSubnet("224.0.0.0", 3, "ipv4");
REFUSED.addAddress("::", "ipv6");
REFUSED.addSubnet("ff00::", 8, "ipv6");
// An IPv4 address in IPv6's clothes: NAT64, the same for one network, 6to4, v4-translated, and v4-compatible, which `::1`
// would be one of. `::ffff:` is seen through by BlockList itself.
REFUSED.addSubnet("64:ff9b::", 96, "ipv6");
REFUSED.addSubnet("64:ff9b:1::", 48, "ipv6");
REFUSED.addSubnet("2002::", 16, "ipv6");
REFUSED.addSubnet("::ffff:0:0:0", 96, "ipv6");
REFUSED.addRange("::2", "::ffff:ffff", "ipv6");

export function isRefused(address: string): boolean {
  return REFUSED.check(address, isIPv4(address) ? "ipv4" : "ipv6");
}

/** The address that a URL's host is, where it is one: a name is looked at when it is resolved. */
export function literalAddress(hostname: string): string | null {
  const bare = hostname.replace(/^\[|\]$/g, "");
  return isIP(bare) === 0 ? null : bare;
}
