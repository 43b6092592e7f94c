//! How often one address may post, and how many new sessions one network may make.
//!
//! The generic cell rate algorithm: one number a key, the moment at which its bucket is empty
//! again. The keys are bounded; the least used are forgotten first.

use std::net::{IpAddr, Ipv6Addr};

use quick_cache::sync::Cache;

use crate::activity::Micros;

/// The most keys that are remembered.
const KEYS: usize = 65_536;
/// So many seconds' worth may come at once.
const BURST_SECONDS: i64 = 10;

/// A rate per key.
#[derive(Debug)]
pub struct Limit {
    interval: Micros,
    empty_at: Cache<IpAddr, Micros>,
}

impl Limit {
    /// `per_second` for each key; 0 is no limit.
    pub fn new(per_second: u32) -> Option<Limit> {
        (per_second > 0).then(|| Limit {
            interval: 1_000_000 / i64::from(per_second),
            empty_at: Cache::new(KEYS),
        })
    }

    /// Takes one from the key's bucket; false when it has none.
    pub fn take(&self, key: IpAddr, now: Micros) -> bool {
        let burst = BURST_SECONDS * 1_000_000;
        let empty_at = self.empty_at.get(&key).unwrap_or(now).max(now);
        // Further away than a full bucket: the clock was set back, which must lock nobody out.
        let empty_at = if empty_at - now > burst + self.interval { now } else { empty_at };
        if empty_at - now > burst {
            return false;
        }
        self.empty_at.insert(key, empty_at + self.interval);
        true
    }
}

/// The key of one client: an IPv4 address, or the /64 that an IPv6 client has to itself.
pub fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => masked(v6, 64),
    }
}

/// The key of one network: IPv4 /24, IPv6 /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => std::net::Ipv4Addr::from_bits(v4.to_bits() & 0xffff_ff00).into(),
        IpAddr::V6(v6) => masked(v6, 64),
    }
}

fn masked(address: Ipv6Addr, bits: u32) -> IpAddr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - bits))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        assert!(Limit::new(0).is_none());
        let limit = Limit::new(10).unwrap();
        let (a, b) = (client([1, 1, 1, 1].into()), client([1, 1, 1, 2].into()));
        let taken = (0..1_000).filter(|_| limit.take(a, 0)).count();
        assert_eq!(taken, 101);
        assert!(limit.take(b, 0), "another address has its own bucket");
        assert!(!limit.take(a, 50_000));
        assert!(limit.take(a, 200_000));
        assert!(limit.take(a, 200_000));
        assert!(!limit.take(a, 200_000));
        assert!(limit.take(a, 60_000_000));
        assert!(limit.take(a, -60_000_000), "the clock was set back");
    }

    #[test]
    fn keys() {
        let v6 = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(client(v6("2001:db8::1")), client(v6("2001:db8::2")));
        assert_ne!(client(v6("2001:db8::1")), client(v6("2001:db8:0:1::1")));
        assert_eq!(network([1, 1, 1, 1].into()), network([1, 1, 1, 2].into()));
        assert_ne!(network([1, 1, 1, 1].into()), network([1, 1, 2, 1].into()));
    }
}
