//! A network of `trusted_proxy`, as people write it: 10.0.0.0/8, or the address of one proxy.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A network; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let alone = |_| text.parse::<IpAddr>().map(IpNet::from);
        text.parse().or_else(alone).map(Network).map_err(|_| {
            format!(
                "{text:?} is no network: write 10.0.0.0/8, or the address of the proxy, such as \
                 127.0.0.1"
            )
        })
    }
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
