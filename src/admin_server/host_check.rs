//! Decides which names may be in the `Host` header of a request to the admin address.
//!
//! A page of another site can make its own name point to the admin address of the machine on which
//! its reader is (DNS rebinding). Its requests carry that name, so they are refused. A page can't
//! do this with an IP address.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Returns `true` if `host` is an IP address, `localhost`, or `allowed`. The port does not matter.
pub(super) fn is_allowed_host(host: &str, allowed: Option<&str>) -> bool {
    if let Some(bracketed) = host.strip_prefix('[') {
        let address = bracketed.split_once(']').map(|(address, _)| address);
        return address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_name = |expected: &str| name.eq_ignore_ascii_case(expected);
    is_name("localhost") || name.parse::<Ipv4Addr>().is_ok() || allowed.is_some_and(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_names_are_refused() {
        let allowed = Some("forms.example.com");
        for host in [
            "localhost",
            "LOCALHOST:8081",
            "127.0.0.1:8081",
            "192.168.1.5",
            "[::1]:8081",
            "[::1]",
            "forms.example.com",
            "Forms.Example.com:443",
        ] {
            assert!(is_allowed_host(host, allowed), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:8081",
            "[evil.example]",
            "[::1",
            "forms.example.com.evil.example",
            "",
            ":8081",
        ] {
            assert!(!is_allowed_host(host, allowed), "{host}");
        }
        assert!(!is_allowed_host("forms.example.com", None));
    }
}
