//! Whose request this is: the address of the client.
//!
//! The socket decides. `X-Forwarded-For` is read only when the peer is a configured proxy, from the right, and the first hop that is
//! no such proxy is the client: everything further left was written by strangers.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderMap};
use ipnet::IpNet;

/// The client's address, or `None` when the connection has none (a test, a Unix socket) or a trusted proxy forwarded something that
/// is no address.
pub fn address(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip().to_canonical();
    behind_proxies(peer, headers, trusted)
}

fn behind_proxies(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let is_proxy = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer;
    // Several headers are one list, in order (RFC 9110, 5.3).
    let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    let hops = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
    for hop in hops {
        if !is_proxy(&client) {
            break;
        }
        client = parse_hop(hop)?;
    }
    Some(client)
}

/// An address, with or without a port and brackets.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", http::HeaderValue::from_static(line));
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        behind_proxies(peer.parse().unwrap(), &headers, &trusted).map(|address| address.to_string())
    }

    #[test]
    fn a_stranger_cannot_choose_its_address() {
        assert_eq!(client("203.0.113.9", &["198.51.100.1"]).unwrap(), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["1.2.3.4, 198.51.100.1"]).unwrap(), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["1.2.3.4", "198.51.100.1, 10.9.9.9"]).unwrap(), "198.51.100.1");
    }

    #[test]
    fn a_proxy_alone_is_the_client_itself() {
        assert_eq!(client("10.0.0.1", &[]).unwrap(), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.2"]).unwrap(), "10.0.0.2");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        assert_eq!(client("10.0.0.1", &["198.51.100.1:4711"]).unwrap(), "198.51.100.1");
        assert_eq!(client("fd00::1", &["[2001:db8::5]"]).unwrap(), "2001:db8::5");
        assert_eq!(client("fd00::1", &["[2001:db8::5]:443"]).unwrap(), "2001:db8::5");
        assert_eq!(client("fd00::1", &["::ffff:198.51.100.1"]).unwrap(), "198.51.100.1");
    }

    #[test]
    fn a_proxy_that_forwards_nonsense_hides_the_client() {
        assert_eq!(client("10.0.0.1", &["unknown"]), None);
    }
}
