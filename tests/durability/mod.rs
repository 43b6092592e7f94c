//! The guarantee, tried: what was answered 204 is stored once and as it was sent, whatever happens
//! to the server, its disk and its database.
//!
//! A [`rig`] is a server in a folder with a [`fleet`] of clients that post under load. Every
//! activity follows from its number ([`activity`]), and what was answered is known to this process
//! alone, so that an [`audit`] can compare the database with it without asking the server.
//! The harness itself is tried on [`mutant`]s: builds that break one promise on purpose.
//!
//! `KILLS`, `SERVER_KILLS`, `CUTS` and `SEED` in the environment: more kills (of the
//! server beside SQLite; of it or the database elsewhere), more power cuts, the same moments. `MOVE_KILLS`:
//! more of a move. `LOCKED_SECONDS`, `FULL_SECONDS`: for how long a table is locked, a database's disk is full.

mod activity;
mod audit;
mod fleet;
mod mutant;
mod rig;

pub(crate) mod clickhouse;
mod damage;
mod database;
mod kills;
mod moving;
mod pairs;
mod servers;
/// On file systems of their own: needs root and loop devices.
mod mounted;
mod stop;
/// System calls that fail or kill: needs `strace`.
mod traced;

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var_os(name).map(|text| text.into_string().unwrap());
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: a number")))
}

/// Numbers that look random: the same for the same seed.
struct Dice(u64);

impl Dice {
    /// From `SEED`, or the clock; printed, so that a failure can be tried again.
    fn thrown() -> Dice {
        let clock = std::time::UNIX_EPOCH.elapsed().unwrap();
        let seed = setting("SEED", u64::from(clock.subsec_nanos()));
        println!("SEED={seed}");
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// At least `from`, less than `to`.
    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from)
    }

    fn millis(&mut self, from: u64, to: u64) -> std::time::Duration {
        std::time::Duration::from_micros(self.between(from * 1_000, to * 1_000))
    }
}

/// The output function of splitmix64.
fn mix(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
