//! Where a request comes from: the TCP peer, unless that is a trusted proxy.
//!
//! `X-Forwarded-For` (or, where there is none, `Forwarded`, RFC 7239) is read only from a peer in
//! `trusted_proxy`, from the right, past the proxies that are trusted too. Names with underscores
//! are other headers (CVE-2015-0219), and `X-Real-IP` is not believed at all.

use std::net::{IpAddr, SocketAddr};

use hyper::{HeaderMap, header};
use ipnet::IpNet;

use crate::activity::Client;

/// Entries looked at, from the right: no chain of proxies is longer.
const HOPS: usize = 32;

/// Makes the [`Client`] of a request.
pub fn of(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> Client {
    // A NUL cannot be in a header: hyper refuses it.
    Client {
        address: address(headers, peer, trusted),
        user_agent: text(headers, header::USER_AGENT),
        referer: text(headers, header::REFERER),
    }
}

/// Whether `address` is a trusted proxy.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// A header as text: UTF-8, else Latin-1, as browsers and WSGI have sent it.
fn text(headers: &HeaderMap, name: header::HeaderName) -> String {
    let Some(value) = headers.get(name) else { return String::new() };
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_bytes().iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn address(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let (name, forwarded) = if headers.contains_key("x-forwarded-for") {
        ("x-forwarded-for", false)
    } else {
        ("forwarded", true)
    };
    let mut nearest = peer;
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
    let entries = values.iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    for entry in entries.take(HOPS) {
        let entry = std::str::from_utf8(entry).unwrap_or_default().trim();
        let node = if forwarded { forwarded_for(entry) } else { Some(entry) };
        // Who wrote what cannot be read is unknown; the last hop that is known stays.
        let Some(hop) = node.and_then(parse) else { return nearest };
        nearest = hop;
        if !is_trusted(hop, trusted) {
            return hop;
        }
    }
    nearest
}

/// The `for` parameter of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// An address with or without port and brackets.
fn parse(node: &str) -> Option<IpAddr> {
    let bare = node.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>()
        .or_else(|_| node.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, headers: &[(&'static str, &str)], expected: &str) {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().unwrap()).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let found = address(&map, peer.parse().unwrap(), &trusted);
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {headers:?}");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let xff = "x-forwarded-for";
        check("203.0.113.9", &[(xff, "1.1.1.1")], "203.0.113.9");
        check("203.0.113.9", &[("forwarded", "for=1.1.1.1")], "203.0.113.9");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &[("x-real-ip", "1.1.1.1")], "10.0.0.1");
        check("10.0.0.1", &[("x_forwarded_for", "1.1.1.1")], "10.0.0.1");
        check("10.0.0.1", &[(xff, "1.1.1.1")], "1.1.1.1");
        check("10.0.0.1", &[(xff, "6.6.6.6, 1.1.1.1")], "1.1.1.1");
        check("10.0.0.1", &[(xff, "6.6.6.6, 1.1.1.1, 10.0.0.2")], "1.1.1.1");
        check("10.0.0.1", &[(xff, "6.6.6.6"), (xff, "1.1.1.1, 10.0.0.2")], "1.1.1.1");
        check("10.0.0.1", &[(xff, "1.1.1.1:4711")], "1.1.1.1");
        check("10.0.0.1", &[(xff, "[2001:db8::1]:4711")], "2001:db8::1");
        check("10.0.0.1", &[(xff, "2001:db8::1")], "2001:db8::1");
        check("10.0.0.1", &[(xff, "::ffff:1.1.1.1")], "1.1.1.1");
        check("::ffff:10.0.0.1", &[(xff, "1.1.1.1")], "1.1.1.1");
        check("10.0.0.1", &[(xff, "1.1.1.1, unknown")], "10.0.0.1");
        check("10.0.0.1", &[(xff, "1.1.1.1, ")], "10.0.0.1");
        check("10.0.0.1", &[(xff, "garbage, 10.0.0.2")], "10.0.0.2");
        check("10.0.0.1", &[(xff, &"10.0.0.2,".repeat(10_000))], "10.0.0.1");
        check("10.0.0.1", &[("forwarded", "for=1.1.1.1;proto=https")], "1.1.1.1");
        check("10.0.0.1", &[("forwarded", "proto=https; For=\"[2001:db8::1]:1\"")], "2001:db8::1");
        check("10.0.0.1", &[("forwarded", "for=1.1.1.1"), (xff, "2.2.2.2")], "2.2.2.2");
    }

    #[test]
    fn utf_8_and_latin_1_are_read() {
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", "é".parse().unwrap());
        headers.insert("referer", header::HeaderValue::from_bytes(b"/caf\xe9").unwrap());
        let client = of(&headers, [127, 0, 0, 1].into(), &[]);
        assert_eq!(client.user_agent, "é");
        assert_eq!(client.referer, "/café");
    }
}
