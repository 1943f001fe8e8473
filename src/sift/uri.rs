//! What a destination's URI may look like, and whether it stays on this machine.

use std::net::{IpAddr, Ipv6Addr};

use http::uri::Authority;

use super::connect_error::ConnectError;

/// A destination's address: nothing but scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) tls: bool,
    /// Lower case; an IPv6 address is without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// Reads `https://host[:port]` or `http://host[:port]`.
    pub(super) fn parse(text: &str) -> Result<Address, ConnectError> {
        let text = text.trim();
        split(text).map_err(|problem| ConnectError::InvalidUri {
            // Whatever stands before an @ may be a password.
            uri: if text.contains('@') { "(hidden)".to_owned() } else { text.chars().take(200).collect() },
            problem,
        })
    }

    /// Whether what is sent there never leaves this machine.
    pub(super) fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => self.host == "localhost",
        }
    }

    /// `scheme://host:port`, always with the port: equal for equal destinations.
    pub(super) fn name(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

fn split(text: &str) -> Result<Address, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("it has no scheme")?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return Err("its scheme is neither https nor http"),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err("it has a user name or password; the key comes from elsewhere");
    }
    if rest.contains(['/', '?', '#']) {
        return Err("it has a path or a query; a gRPC endpoint has neither");
    }
    if rest.is_empty() || rest.starts_with(':') {
        return Err("it has no host");
    }
    let authority = Authority::try_from(rest).map_err(|_| "its host or port is malformed")?;
    let host = authority.host();
    let port = match rest.strip_prefix(host) {
        Some("") => default_port(tls),
        Some(port) => port
            .strip_prefix(':')
            .and_then(|digits| digits.parse::<u16>().ok())
            .filter(|port| *port != 0)
            .ok_or("its port is not a number from 1 to 65535")?,
        None => return Err("its host or port is malformed"),
    };
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed
            .strip_suffix(']')
            .and_then(|address| address.parse::<Ipv6Addr>().ok())
            .ok_or("what its brackets hold is no IPv6 address")?
            .to_string(),
        None => host.to_ascii_lowercase(),
    };
    Ok(Address { tls, host, port })
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_destinations_have_equal_names() {
        for (uri, name) in [
            ("https://grpc.example.com", "https://grpc.example.com:443"),
            ("HTTPS://GRPC.example.com:443/", "https://grpc.example.com:443"),
            (" http://127.0.0.1:50051\n", "http://127.0.0.1:50051"),
            ("http://[0:0::1]:50051", "http://[::1]:50051"),
            ("http://localhost", "http://localhost:80"),
        ] {
            assert_eq!(Address::parse(uri).unwrap().name(), name);
        }
    }

    #[test]
    fn only_loopback_is_loopback() {
        for (uri, loopback) in [
            ("http://127.0.0.1:1", true),
            ("http://127.8.9.10:1", true),
            ("http://[::1]:1", true),
            ("http://[::ffff:127.0.0.1]:1", true),
            ("http://LocalHost:1", true),
            ("http://localhost.example.com:1", false),
            ("http://127.0.0.1.example.com:1", false),
            ("http://10.0.0.1:1", false),
            ("http://0.0.0.0:1", false),
            ("http://[fe80::1]:1", false),
        ] {
            assert_eq!(Address::parse(uri).unwrap().is_loopback(), loopback, "{uri}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_a_right_one_shown() {
        for (uri, problem) in [
            ("", "no scheme"),
            ("grpc.example.com:443", "no scheme"),
            ("ftp://example.com", "neither https nor http"),
            ("https://", "no host"),
            ("https://:443", "no host"),
            ("https://example.com/api/v1", "path"),
            ("https://example.com?x=1", "query"),
            ("https://example.com:0", "port"),
            ("https://example.com:99999", "port"),
            ("https://example.com:", "port"),
            ("https://exa mple.com", "malformed"),
            ("https://[zz]:1", "IPv6"),
        ] {
            let message = Address::parse(uri).unwrap_err().to_string();
            assert!(message.contains(problem), "{uri}: {message}");
            assert!(message.contains("https://"), "{message}");
        }
    }

    #[test]
    fn a_password_in_a_uri_is_not_repeated() {
        let message = Address::parse("https://me:hunter2@example.com").unwrap_err().to_string();
        assert!(!message.contains("hunter2"), "{message}");
        assert!(message.contains("password"), "{message}");
    }
}
