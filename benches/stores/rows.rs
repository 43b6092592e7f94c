//! Rows as a busy site makes them: 10,000 sessions at a time with five activities each; half of the
//! sessions belong to one of 20,000 users and have a random key of Django's, the others are
//! newcomers whose row is to be made; dates near now that arrive a little out of order.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
};

use djaffar::activity::{Activity, Session, SessionState};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use uuid::Uuid;

const START: i64 = 1_780_000_000_000_000;

pub(crate) struct Source {
    random: SmallRng,
    made: u64,
    ids: String,
    seen: HashSet<u64>,
}

impl Source {
    pub(crate) fn new(ids: &str) -> Source {
        let random = SmallRng::seed_from_u64(1);
        Source { random, made: 0, ids: ids.into(), seen: HashSet::new() }
    }

    pub(crate) fn next(&mut self) -> Activity {
        let number = (self.made + self.random.random_range(0..50_000)) / 5;
        // 2,000 activities a second; clients' clocks and ways differ by up to two seconds.
        let received_at = START + self.made.cast_signed() * 500;
        self.made += 1;
        let jitter = self.random.random_range(0..2_000_000);
        let session = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let is_user = session.is_multiple_of(2);
        // Our own keys begin with the minute that they were made in.
        let minute = if is_user { session >> 44 } else { number * 5 / 120_000 };
        let is_new = !is_user && self.seen.insert(number);
        Activity {
            received_at,
            date: received_at - jitter,
            address: IpAddr::V4(Ipv4Addr::from_bits((session >> 32) as u32)),
            session: Some(Session {
                key: format!("{minute:05x}{session:016x}{:011x}", session.rotate_left(17) >> 20),
                visitor: None,
                state: if is_new { SessionState::Minted } else { SessionState::Known },
            }),
            user: is_user.then(|| (session % 20_000 + 1).to_string()),
            path: format!(
                "/articles/2026/{:02}/a-piece-of-news-{:06}/",
                number % 12,
                jitter % 5_000
            ),
            referer: format!("https://www.example.org/search?q={:06}", session % 90_000),
            user_agent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                         Chrome/140.0.0.0 Safari/537.36"
                .into(),
            event_id: self.event_id(received_at),
            name: String::new(),
            properties: None,
        }
    }

    fn event_id(&mut self, at: i64) -> Option<Uuid> {
        let random: u128 = self.random.random();
        match self.ids.as_str() {
            "v7" => {
                let millis = (at / 1_000).cast_unsigned();
                Some(Uuid::from_u128(u128::from(millis) << 80 | 7 << 76 | random & ((1 << 76) - 1)))
            }
            "v4" => Some(Uuid::from_u128(random)),
            _ => None,
        }
    }
}
