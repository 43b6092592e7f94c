//! Addresses as people write them: that of `listen`, and a network of `trusted_proxy`, 10.0.0.0/8
//! or the address of one proxy.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

/// A network; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let alone = |_| text.parse::<IpAddr>().map(IpNet::from);
        text.parse().or_else(alone).map(canonical).map(Network).map_err(|_| {
            format!(
                "{text:?} is no network: write 10.0.0.0/8, or the address of the proxy, such as \
                 127.0.0.1"
            )
        })
    }
}

/// Peers are compared as IPv4 where they are, however their address is written.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let v4 = v6.addr().to_ipv4_mapped();
    let length = v6.prefix_len().checked_sub(96);
    let mapped = v4.zip(length).and_then(|(v4, length)| Ipv4Net::new(v4, length).ok());
    mapped.map_or(network, IpNet::V4)
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.0.to_string()
    }
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(pub SocketAddr);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Address).map_err(|_| {
            format!(
                "{text:?} is no address with a port: write 127.0.0.1:8000 for this machine only, \
                 0.0.0.0:8000 or [::]:8000 for all networks"
            )
        })
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_network_of_one() {
        for (text, network) in [
            ("127.0.0.1", Some("127.0.0.1/32")),
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("::1", Some("::1/128")),
            ("fd00::/8", Some("fd00::/8")),
            ("::ffff:10.0.0.0/104", Some("10.0.0.0/8")),
            ("::ffff:10.1.2.3", Some("10.1.2.3/32")),
            ("::/0", Some("::/0")),
            ("localhost", None),
            ("10.0.0.0/33", None),
            ("127.0.0.1:80", None),
            ("", None),
        ] {
            let parsed: Option<Network> = text.parse().ok();
            assert_eq!(parsed.map(String::from).as_deref(), network, "{text}");
        }
    }
}
