//! Which addresses this server may connect to on behalf of a target.
//!
//! Invariants: the verdict is about the socket address, never about the text of a URL, so that `127.1`, `0x7f000001` and
//! `[::ffff:127.0.0.1]` are all judged as what they are; an IPv6 address that carries an IPv4 address is also judged by the one
//! it carries; what the operator allowed is allowed, everything else must be public unicast.
//!
//! Sources: the IANA special-purpose registries for IPv4 and IPv6 (RFC 6890 and updates), RFC 6052 (NAT64), RFC 3056 (6to4),
//! RFC 4380 (Teredo), RFC 5214 (ISATAP), and the providers' documents for metadata services outside of those ranges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Vets addresses. Cheap to clone for a handful of networks.
#[derive(Clone, Debug, Default)]
pub struct AddressGuard {
    allowed: Vec<IpNet>,
}

/// The verdict on an address that may not be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} address")]
pub struct Blocked {
    /// Which range it lies in, e.g. `loopback`. For the operator's log: the owner of a target is not told, lest error messages
    /// map the inside of a network.
    pub kind: &'static str,
}

impl AddressGuard {
    /// A guard that lets through public unicast addresses and, besides, everything in `allow`.
    pub fn new(allow: impl Into<Vec<IpNet>>) -> Self {
        Self { allowed: allow.into() }
    }

    /// A guard that lets everything through: for hosts that the operator named, such as the mail relay.
    pub fn open() -> Self {
        let everything = |address: IpAddr| IpNet::new(address, 0).expect("a prefix of 0 bits fits every family");
        Self { allowed: vec![everything(Ipv4Addr::UNSPECIFIED.into()), everything(Ipv6Addr::UNSPECIFIED.into())] }
    }

    /// Whether this server may connect to `address`.
    ///
    /// # Errors
    /// [`Blocked`] unless the address is public unicast or allowed. An IPv6 address that carries an IPv4 address (mapped,
    /// translated, 6to4, Teredo, ISATAP) is allowed only if the address inside is.
    pub fn check(&self, address: IpAddr) -> Result<(), Blocked> {
        if self.allows(address) {
            return Ok(());
        }
        match address {
            IpAddr::V4(v4) => self.check_v4(v4),
            IpAddr::V6(v6) => self.check_v6(v6),
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        self.allowed.iter().any(|net| net.contains(&address))
    }

    fn check_v4(&self, address: Ipv4Addr) -> Result<(), Blocked> {
        if self.allows(address.into()) {
            return Ok(());
        }
        let bits = address.to_bits();
        match SPECIAL_V4.iter().find(|(net, prefix, _)| bits >> (32 - prefix) == u32::from_be_bytes(*net) >> (32 - prefix)) {
            Some((_, _, kind)) => Err(Blocked { kind }),
            None => Ok(()),
        }
    }

    fn check_v6(&self, address: Ipv6Addr) -> Result<(), Blocked> {
        let carried = carried_v4(address);
        for inside in carried.addresses.into_iter().flatten() {
            self.check_v4(inside)?;
        }
        if carried.is_all {
            return Ok(());
        }
        let bits = address.to_bits();
        match SPECIAL_V6.iter().find(|(net, prefix, _)| bits >> (128 - prefix) == net.to_bits() >> (128 - prefix)) {
            Some((_, _, kind)) => Err(Blocked { kind }),
            // Global unicast is handed out of 2000::/3 alone; whatever lies outside is reserved or local.
            None if bits >> 125 != 0b001 => Err(Blocked { kind: "reserved" }),
            None => Ok(()),
        }
    }
}

/// Special-purpose IPv4 networks: network, prefix length, kind.
const SPECIAL_V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 8, "unspecified"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "carrier-grade NAT"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([169, 254, 0, 0], 16, "link-local"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "protocol assignment"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 88, 99, 0], 24, "6to4 relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "benchmark"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved"),
    // Azure's platform service: the one metadata address that lies in public space. (AWS, Google and Oracle use link-local
    // or protocol-assignment addresses, Alibaba a carrier-grade NAT one.)
    ([168, 63, 129, 16], 32, "cloud metadata"),
];

/// Special-purpose networks inside of, or worth a name outside of, 2000::/3: network, prefix length, kind.
const SPECIAL_V6: &[(Ipv6Addr, u32, &str)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "unique local"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "site-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
    (Ipv6Addr::new(0x0100, 0, 0, 0, 0, 0, 0, 0), 64, "discard"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "protocol assignment"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
];

/// IPv4 addresses inside an IPv6 address.
struct Carried {
    addresses: [Option<Ipv4Addr>; 2],
    /// The IPv6 address is nothing but a way to write the IPv4 one: there is no more to judge.
    is_all: bool,
}

fn carried_v4(address: Ipv6Addr) -> Carried {
    let bytes = address.octets();
    let at = |i: usize| Ipv4Addr::new(bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]);
    match address.segments() {
        // Mapped ::ffff:a.b.c.d, translated ::ffff:0:a.b.c.d (RFC 2765), NAT64 64:ff9b::a.b.c.d.
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => {
            Carried { addresses: [Some(at(12)), None], is_all: true }
        }
        // 6to4.
        [0x2002, ..] => Carried { addresses: [Some(at(2)), None], is_all: true },
        // Teredo: the server's address, and the client's with every bit turned over.
        [0x2001, 0, ..] => Carried { addresses: [Some(at(4)), Some(Ipv4Addr::from_bits(!at(12).to_bits()))], is_all: true },
        // ISATAP under any prefix; and the old "compatible" form ::a.b.c.d, which stays reserved whatever is inside.
        [_, _, _, _, 0 | 0x0200, 0x5efe, _, _] => Carried { addresses: [Some(at(12)), None], is_all: false },
        _ => Carried { addresses: [None, None], is_all: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(guard: &AddressGuard, address: &str) -> bool {
        guard.check(address.parse().expect("test address")).is_ok()
    }

    /// STDWH-67 and incident 8: nothing internal in any disguise.
    #[test]
    fn refuses_every_internal_address() {
        let guard = AddressGuard::default();
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::127.0.0.1",
            "::10.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2002:c0a8:101::1",
            "2001:0:7f00:1::1",
            "2001:0:808:808:0:0:80ff:fffe",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
            "4000::1",
            "2600:1f00::5efe:10.0.0.1",
            "2600:1f00::200:5efe:127.0.0.1",
        ] {
            assert!(!verdict(&guard, address), "{address} must be refused");
        }
    }

    #[test]
    fn lets_public_addresses_through() {
        let guard = AddressGuard::default();
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2001:4860:4860::8888",
            "2600:1f00::5efe:8.8.8.8",
        ] {
            assert!(verdict(&guard, address), "{address} must pass");
        }
    }

    #[test]
    fn what_the_operator_allowed_passes_in_every_disguise_and_nothing_else_does() {
        let guard = AddressGuard::new(vec!["127.0.0.0/8".parse().expect("net"), "fd00:1::/32".parse().expect("net")]);
        for address in ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00:1::9"] {
            assert!(verdict(&guard, address), "{address} was allowed");
        }
        for address in ["10.0.0.1", "::1", "fd00:2::1", "::ffff:10.0.0.1"] {
            assert!(!verdict(&guard, address), "{address} was not allowed");
        }
        assert!(verdict(&AddressGuard::open(), "169.254.169.254") && verdict(&AddressGuard::open(), "::1"));
    }
}
