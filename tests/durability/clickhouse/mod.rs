//! The guarantee where the activities go to ClickHouse: `tests/clickhouse/run` installs what these
//! tests start.

mod away;
mod faults;
mod full;
mod moving;
mod parked;
mod proxy;
pub(crate) mod servers;

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    activity::Sent,
    audit::{Audit, Findings},
    fleet::Outcome,
    rig::Rig,
};
use proxy::Proxy;
use servers::{Server, activities, ask, ports};

/// What waits is being stored as long as rows come in shorter intervals than this.
const STANDSTILL: Duration = Duration::from_secs(40);

/// So long may replicas differ, or not answer, after what was done to them.
const AGREEMENT: Duration = Duration::from_secs(180);

/// One ClickHouse or four, and a proxy before each.
struct Fort {
    zookeeper: Option<Server>,
    servers: Vec<Server>,
    proxies: Vec<Proxy>,
    url: String,
    _home: tempfile::TempDir,
}

impl Fort {
    /// One server.
    fn one(kind: &'static str) -> Fort {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(kind, home.path(), ports(1)[0], &[]);
        Fort::of(home, None, vec![server], |ports| format!("127.0.0.1:{}/default", ports[0]))
    }

    /// Two shards of two replicas.
    fn four() -> Fort {
        let home = tempfile::tempdir().unwrap();
        let ports = ports(5);
        let [z, a, b, c, d] = ports[..] else { unreachable!() };
        let zookeeper = Server::start("zookeeper", home.path(), z, &[]);
        zookeeper.must_answer();
        let more = [z.to_string(), format!("{a}+{b}~{c}+{d}")];
        let start = |port: &u16| Server::start("old", home.path(), *port, &more);
        let servers = ports[1..].iter().map(start).collect();
        Fort::of(home, Some(zookeeper), servers, |ports| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|place| format!("127.0.0.1:{}", ports[place]));
            format!("{a}+{b}~{c}+{d}/default?cluster=djaffar")
        })
    }

    fn of(
        home: tempfile::TempDir,
        zookeeper: Option<Server>,
        servers: Vec<Server>,
        place: impl Fn(&[u16]) -> String,
    ) -> Fort {
        servers.iter().for_each(Server::must_answer);
        let proxies: Vec<Proxy> =
            servers.iter().map(|server| Proxy::start(server.address(), 7)).collect();
        let ports: Vec<u16> = proxies.iter().map(|proxy| proxy.port).collect();
        let url = format!("clickhouse://djaffar:se%2Fcret@{}", place(&ports));
        Fort { zookeeper, servers, proxies, url, _home: home }
    }

    /// Whether the proxies do harm.
    fn harm(&self, harms: bool) {
        for proxy in &self.proxies {
            proxy.harms.store(harms, std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// A server of ours that stores here.
    fn rig(&self) -> Rig {
        self.harm(false);
        let mut rig = Rig::new().with(&format!("--activity-database={}", self.url));
        rig.fleet.pause(Duration::from_millis(20));
        rig
    }

    /// Everything that is stored, once it is all there: each shard's replicas agree.
    fn audit(&self, rig: &Rig) -> Findings {
        let acknowledged = rig.fleet.count(Outcome::Acknowledged);
        let (mut before, mut since, start) = (0, Instant::now(), Instant::now());
        loop {
            let count = self.count();
            let rows = count.as_ref().map_or(0, |count| *count);
            // What cannot be read yet says nothing; a replica takes its time to come back.
            if rows > before || rows == 0 && start.elapsed() < AGREEMENT {
                since = Instant::now();
            }
            let stands_still = since.elapsed() > STANDSTILL;
            // Reading all of them takes a server's processor: only when they may be complete.
            if stands_still || rows > before && rows >= acknowledged {
                let mut audit = Audit::default();
                let rows = self.rows();
                rows.iter().flatten().for_each(|row| audit.compare(&rig.fleet, row));
                if stands_still || audit.is_complete(&rig.fleet) {
                    if let Err(reason) = count.and(rows.map(|_| 0)) {
                        println!("cannot be read: {reason}");
                        self.servers.iter().for_each(Server::tell);
                    }
                    return audit.findings(&rig.fleet);
                }
            }
            before = before.max(rows);
            thread::sleep(Duration::from_millis(300));
        }
    }

    /// The table that each server has for itself.
    fn table(&self) -> &'static str {
        if self.zookeeper.is_some() { "djaffar_activity_local" } else { "djaffar_activity" }
    }

    /// How many activities there are. Not while one server cannot be read, or replicas differ yet.
    fn count(&self) -> Result<usize, String> {
        let sql = format!("SELECT count() FROM {}", self.table());
        let counted = self.servers.iter().map(|server| {
            let found = ask(server.address(), &sql);
            let found = found.map_err(|error| format!("{}: {error}", server.address()))?;
            Ok(found.trim().parse::<usize>().unwrap())
        });
        let counts = counted.collect::<Result<Vec<_>, String>>()?;
        // Pairs of replicas, or one server.
        if let Some(pair) = counts.chunks(2).find(|pair| pair[0] != pair[pair.len() - 1]) {
            return Err(format!("replicas have {pair:?} rows"));
        }
        Ok(counts.chunks(2).map(|pair| pair[0]).sum())
    }

    /// All activities, of each server: of each shard's two, those of the first.
    fn rows(&self) -> Result<Vec<Sent>, String> {
        let mut rows = Vec::new();
        for server in self.servers.chunks(2).map(|replicas| &replicas[0]) {
            let found = activities(server.address(), self.table());
            rows.extend(found.map_err(|error| format!("{}: {error}", server.address()))?);
        }
        Ok(rows)
    }

    /// All that was acknowledged is stored once, and what comes next as well.
    #[track_caller]
    fn must_be_clean(&mut self, rig: &mut Rig) {
        self.harm(false);
        self.servers.iter_mut().for_each(Server::must_come_back);
        let server = rig.serve();
        rig.load(&server, Duration::from_millis(200));
        let findings = self.audit(rig);
        findings.must_be_clean();
        // What had no answer may still come.
        thread::sleep(Duration::from_millis(1_500));
        let findings = self.audit(rig);
        findings.must_be_clean();
        println!(
            "{} acknowledged: 0 lost, 0 doubled, 0 altered; {} stored without an answer",
            findings.acknowledged, findings.unanswered
        );
        let sql = format!("SELECT count() - uniqExact(id) FROM {}", self.table());
        assert_eq!(ask(self.servers[0].address(), &sql).as_deref(), Ok("0\n"), "numbers");
        self.must_match_the_dump(rig, findings.acknowledged + findings.unanswered);
    }

    /// What `djaffar dumpdata` prints has as many.
    #[track_caller]
    fn must_match_the_dump(&self, rig: &Rig, count: usize) {
        let program = Path::new(env!("CARGO_BIN_EXE_djaffar"));
        let mut command = crate::support::command_of(program, &rig.dir);
        command.args(["dumpdata", "djaffar.Activity", "--activity-database", &self.url]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), count);
    }
}
