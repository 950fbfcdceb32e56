//! Classifies IP addresses: public on the internet, or reserved for a special purpose.
//!
//! The ranges are those of IANA's *IPv4 and IPv6 Special-Purpose Address Registries*. An IPv6
//! address that embeds an IPv4 address is classified by its IPv4 address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns `true` if a host on the public internet can have this address.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded_ipv4(address) {
            Some(embedded) => is_public_v4(embedded),
            None => is_public_v6(address),
        },
    }
}

/// Returns the IP address in the host part of a URL. Returns `None` if the host is a name.
#[must_use]
pub fn literal_ip(host: &str) -> Option<IpAddr> {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host).parse().ok()
}

/// Returns `true` if the host of a URL is always this machine: a loopback address or `localhost`.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let is_localhost = host.eq_ignore_ascii_case("localhost");
    literal_ip(host).map_or(is_localhost, |address| address.is_loopback())
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let octets = address.octets();
    // "This network", loopback, private, link-local.
    let is_local_range = matches!(
        octets,
        [0 | 127 | 10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [169, 254, ..]
    );
    // Shared address space of providers, protocol assignments and documentation, benchmarks, 6to4
    // relays.
    let is_reserved_range = matches!(
        octets,
        [100, 64..=127, ..]
            | [192, 0, 0 | 2, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [192, 88, 99, _]
    );
    // Multicast, reserved, broadcast.
    !is_local_range && !is_reserved_range && !matches!(octets, [224..=255, ..])
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // IANA has assigned global unicast from 2000::/3 only. Protocol assignments (2001::/23) and
    // documentation are exceptions within this range.
    let is_global = first & 0xe000 == 0x2000;
    let is_special = (first == 0x2001 && (second < 0x200 || second == 0x0db8))
        || (first == 0x3fff && second < 0x1000);
    is_global && !is_special
}

/// Returns the IPv4 address that is embedded in a mapped (`::ffff:0:0/96`), translated
/// (`64:ff9b::/96`) or 6to4 (`2002::/16`) address.
fn embedded_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bytes = address.octets();
    match bytes {
        [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
        | [0x20, 0x02, a, b, c, d, ..] => Some(Ipv4Addr::new(a, b, c, d)),
        _ => address.to_ipv4_mapped(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_purpose_address_is_not_public() {
        let public = |text: &str| is_public(text.parse().unwrap());
        let addresses = "
            1.1.1.1 8.8.8.8 172.15.0.1 172.32.0.1 100.63.255.255 100.128.0.1 169.253.1.1
            192.0.1.1 198.17.0.1 223.255.255.255 2606:4700::1111 2a00::1 ::ffff:8.8.8.8
            64:ff9b::808:808 2002:808:808::1 2001:200::1";
        for text in addresses.split_whitespace() {
            assert!(public(text), "{text}");
        }
        let addresses = "
            0.0.0.0 127.0.0.1 127.255.255.255 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1
            169.254.169.254 100.64.0.1 192.0.0.8 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1
            192.88.99.1 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 fe80::1 fc00::1 fd12::1
            fec0::1 ff02::1 2001:db8::1 2001::1 3fff::1 100::1 ::ffff:127.0.0.1 ::ffff:10.1.2.3
            ::7f00:1 64:ff9b::7f00:1 64:ff9b:1::1 2002:a00:1::1 5f00::1";
        for text in addresses.split_whitespace() {
            assert!(!public(text), "{text}");
        }
    }
}
