//! Which addresses of the network a stranger's URL may lead to: only those that are somebody else's and reachable by everybody. Pure.
//!
//! After the IANA special-purpose registries for IPv4 and IPv6 (RFC 6890 and its updates). An IPv6 address that carries an IPv4 one
//! (mapped, compatible, 6to4, NAT64, Teredo, ISATAP) is judged by what it carries too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a connection to this address may be made for a caller.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// First address and length of the prefix.
const REFUSED_V4: &[([u8; 4], u32)] = &[
    // "This network".
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    // Shared by carriers.
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    // Link-local, with the metadata services of clouds.
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    // Protocol assignments, documentation, 6to4 relays, AS112.
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 52, 193, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([192, 175, 48, 0], 24),
    // Benchmarks.
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // Multicast, reserved, broadcast.
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    !REFUSED_V4.iter().any(|(first, length)| bits >> (32 - length) == Ipv4Addr::from(*first).to_bits() >> (32 - length))
}

/// First two groups, second two groups, and length: all of these prefixes end within the first 64 bits.
const REFUSED_V6: &[(u64, u32)] = &[
    // Discard-only, and the dummy prefix beside it.
    (0x0100_0000_0000_0000, 32),
    // Protocol assignments; Teredo and others that carry something are judged before.
    (0x2001_0000_0000_0000, 23),
    (0x2001_0db8_0000_0000, 32),
    // 6bone, given back.
    (0x3ffe_0000_0000_0000, 16),
    (0x3fff_0000_0000_0000, 20),
    // Segment routing.
    (0x5f00_0000_0000_0000, 16),
    // Unique local.
    (0xfc00_0000_0000_0000, 7),
    // Link-local and site-local.
    (0xfe80_0000_0000_0000, 10),
    (0xfec0_0000_0000_0000, 10),
    (0xff00_0000_0000_0000, 8),
];

fn is_public_v6(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    let top = (bits >> 64) as u64;
    // ::, ::1, and all that carries an IPv4 address in a prefix of zeros (mapped, translated, compatible).
    if top == 0 {
        return false;
    }
    if let Some(carried) = carried_v4(top, bits)
        && !is_public_v4(carried)
    {
        return false;
    }
    // Local-use NAT64 leads wherever its operator says.
    if bits >> 80 == 0x0064_ff9b_0001 {
        return false;
    }
    // Only 2000::/3 has been given out, and the well-known NAT64 prefix stands beside it.
    let given_out = top >> 61 == 0b001 || bits >> 32 == 0x0064_ff9b_0000_0000_0000_0000;
    given_out && !REFUSED_V6.iter().any(|(first, length)| top >> (64 - length) == first >> (64 - length))
}

/// The IPv4 address that is reached by way of this one.
fn carried_v4(top: u64, bits: u128) -> Option<Ipv4Addr> {
    let low = bits as u32;
    // 6to4 (RFC 3056).
    if top >> 48 == 0x2002 {
        return Some(Ipv4Addr::from_bits((top >> 16) as u32));
    }
    // NAT64 (RFC 6052).
    if bits >> 32 == 0x0064_ff9b_0000_0000_0000_0000 {
        return Some(Ipv4Addr::from_bits(low));
    }
    // Teredo (RFC 4380): the client's address is inverted.
    if top >> 32 == 0x2001_0000 {
        return Some(Ipv4Addr::from_bits(!low));
    }
    // ISATAP (RFC 5214).
    let interface = (bits as u64) >> 32;
    (interface == 0x5efe || interface == 0x0200_5efe).then(|| Ipv4Addr::from_bits(low))
}

/// The address that a URL's host is, if it is one in the only spelling there is; `Err` for what some resolvers read as an address and others
/// as a name (octal, decimal, hexadecimal, short forms, zones).
pub fn literal(host: &str) -> Result<Option<IpAddr>, Ambiguous> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(bare) = bare {
        return bare.parse::<Ipv6Addr>().map(|address| Some(IpAddr::V6(address))).map_err(|_| Ambiguous);
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(Some(address));
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    // WHATWG URL 3.5: a host whose last label is a number is an address, in whatever spelling.
    let hexadecimal =
        last.to_ascii_lowercase().strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let numeric = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    if numeric || hexadecimal || host.contains([':', '%', '[', ']', '@', '/', '\\']) || !host.is_ascii() || host.is_empty() {
        return Err(Ambiguous);
    }
    Ok(None)
}

/// A host that different programs read differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host is no plain name and no plain address")]
pub struct Ambiguous;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Every form of an address that is not everybody's, with what it is.
    const REFUSED: &[&str] = &[
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.1.2.3",
        "127.255.255.254",
        "169.254.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.170",
        "192.0.2.1",
        "192.31.196.1",
        "192.52.193.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.255.255",
        "192.175.48.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::7f00:1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "::ffff:8.8.8.8",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.1.2.3",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "100:0:0:1::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:0:808:808:0:0:80ff:fffe",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:a00:1::1",
        "2002:a9fe:a9fe::1",
        "2a00:1450::5efe:127.0.0.1",
        "2a00:1450::200:5efe:192.168.0.1",
        "3ffe::1",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe90::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ];

    const PUBLIC: &[&str] = &[
        "1.1.1.1",
        "8.8.8.8",
        "11.0.0.1",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "2001:4860:4860::8888",
        "2606:4700:4700::1111",
        "2a00:1450:4001:830::200e",
        "2002:808:808::1",
        "64:ff9b::8.8.8.8",
    ];

    #[test]
    fn addresses_that_are_not_everybodys_are_refused() {
        assert!(REFUSED.len() >= 60);
        for text in REFUSED {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in PUBLIC {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn hosts_have_one_spelling() {
        for host in [
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "0X7F.1",
            "2130706433",
            "017700000001",
            "127.1",
            "127.0.1",
            "127.0.0.1.",
            "1.2.3.4.5",
            "256.1.1.1",
            "[::1",
            "::1%lo",
            "[fe80::1%25eth0]",
            "fe80::1%1",
            "[127.0.0.1]",
            "a@b",
            "a/b",
            "a\\b",
            "",
            ".",
            "０.０.０.０",
            "①②⑦.0.0.1",
            "localhost。",
            "example.0x10",
            "host.08",
        ] {
            assert!(literal(host).is_err(), "{host}");
        }
        for host in ["127.0.0.1", "::1", "[::1]", "8.8.8.8", "[2001:db8::1]"] {
            assert!(literal(host).unwrap().is_some(), "{host}");
        }
        for host in ["example.org", "localhost", "a-b.example.", "xn--nxasmq6b", "1password.com", "0x.org"] {
            assert_eq!(literal(host), Ok(None), "{host}");
        }
    }

    proptest::proptest! {
        /// The judgement is about bits: any IPv4 address inside a carrier is refused where it is refused itself.
        #[test]
        fn what_carries_a_refused_address_is_refused(bits in proptest::num::u32::ANY) {
            let carried = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = carried.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let nat64 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low);
            let six_to_four = Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1);
            let isatap = Ipv6Addr::new(0x2a00, 1, 2, 3, 0, 0x5efe, high, low);
            for address in [nat64, six_to_four, isatap] {
                proptest::prop_assert_eq!(is_public(address.into()), is_public(carried.into()));
            }
            proptest::prop_assert!(!is_public(carried.to_ipv6_mapped().into()));
        }
    }
}
