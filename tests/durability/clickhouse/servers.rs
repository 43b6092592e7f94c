//! ClickHouses and their ZooKeeper, each a process in a folder of its own that can be killed and
//! started again, and what is in them, read without Djaffar.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use super::super::activity::Sent;

/// Until a server answers, or gives its tables free again.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server.
pub(crate) struct Server {
    kind: &'static str,
    dir: PathBuf,
    pub(crate) port: u16,
    /// ZooKeeper's port and the cluster.
    more: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// Of this kind, as `tests/clickhouse/serve` knows them.
    pub(crate) fn start(kind: &'static str, home: &Path, port: u16, more: &[String]) -> Server {
        let dir = home.join(format!("{kind}-{port}"));
        let mut server = Server { kind, dir, port, more: more.to_vec(), child: None };
        server.restart();
        server
    }

    pub(super) fn restart(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clickhouse/serve");
        let mut command = Command::new(script);
        command.arg(self.kind).arg(&self.dir).arg(self.port.to_string()).args(&self.more);
        command.env("SUPERVISED", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.process_group(0).spawn().unwrap());
    }

    /// SIGKILL, to it and to who would start it again.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill_process_group(Pid::from_child(&child), Signal::KILL).unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGSTOP: it accepts connections, and never answers; or SIGCONT.
    pub(super) fn hang(&self, hangs: bool) {
        let group = Pid::from_child(self.child.as_ref().unwrap());
        kill_process_group(group, if hangs { Signal::STOP } else { Signal::CONT }).unwrap();
    }

    /// Waits until it answers.
    pub(crate) fn must_answer(&self) {
        assert!(self.answers(), "{} does not answer", self.dir.display());
    }

    /// The same of one that was killed. A ClickHouse 18.16 that loses its ZooKeeper while it starts may
    /// hang for ever instead of giving up: as a person would, it is killed once more then.
    pub(super) fn must_come_back(&mut self) {
        for _ in 0..3 {
            if self.answers() {
                return;
            }
            self.tell();
            self.kill();
            self.restart();
        }
        self.must_answer();
    }

    fn answers(&self) -> bool {
        let since = Instant::now();
        let is_up = || match self.kind {
            "zookeeper" => four_letters(self.address()).is_ok_and(|it| it.contains("Mode")),
            _ => ask(self.address(), "SELECT 1").as_deref() == Ok("1\n"),
        };
        while !is_up() {
            if since.elapsed() > PATIENCE {
                return false;
            }
            thread::sleep(Duration::from_millis(50));
        }
        true
    }

    /// Prints the end of what it has logged.
    pub(super) fn tell(&self) {
        for name in ["output", "errors"] {
            let log = std::fs::read(self.dir.join(name)).unwrap_or_default();
            let end = String::from_utf8_lossy(&log[log.len().saturating_sub(3_000)..]).into_owned();
            println!("{} on port {}, {name}: …{end}", self.kind, self.port);
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports that were free a moment ago, each with its two neighbours. They are below those that the
/// system gives to connections, one of which could take the port of a server that is down.
pub(crate) fn ports(count: usize) -> Vec<u16> {
    let mut found: Vec<u16> = Vec::new();
    while found.len() < count {
        let port = rand::random_range(3_400..6_600) * 3;
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if !found.contains(&port) && (port..port + 3).all(free) {
            found.push(port);
        }
    }
    found
}

/// What ZooKeeper says of itself.
fn four_letters(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"srvr")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Asks a server by hand.
pub(crate) fn ask(address: SocketAddr, sql: &str) -> Result<String, String> {
    let talk = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(
            stream,
            "POST /?wait_end_of_query=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             X-ClickHouse-User: djaffar\r\nX-ClickHouse-Key: se/cret\r\n\
             Content-Length: {}\r\n\r\n{sql}",
            sql.len()
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    let answer = talk().map_err(|error| error.to_string())?;
    let split = answer.windows(4).position(|end| end == b"\r\n\r\n").ok_or("no answer")?;
    let (head, body) = (String::from_utf8_lossy(&answer[..split]), &answer[split + 4..]);
    let body = match head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        true => joined(body),
        false => body.to_vec(),
    };
    let body = String::from_utf8(body).unwrap();
    if head.split(' ').nth(1) == Some("200") { Ok(body) } else { Err(body) }
}

/// A chunked body.
fn joined(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(2).position(|end| end == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        whole.extend(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    whole
}

/// All activities of a table.
pub(super) fn activities(address: SocketAddr, table: &str) -> Result<Vec<Sent>, String> {
    let sql = format!(
        "SELECT toString(date), path, referer, name, properties, toString(event_id) FROM {table} \
         FORMAT JSONCompact"
    );
    let answer: serde_json::Value = serde_json::from_str(&ask(address, &sql)?).unwrap();
    let rows = answer["data"].as_array().unwrap();
    Ok(rows.iter().map(sent).collect())
}

fn sent(row: &serde_json::Value) -> Sent {
    let text = |column: usize| row[column].as_str().unwrap().to_owned();
    let some = |text: String, blank: &str| (text != blank).then_some(text);
    let date = jiff::Timestamp::from_microsecond(text(0).parse().unwrap()).unwrap();
    let event_id = some(text(5), "00000000-0000-0000-0000-000000000000");
    Sent {
        date: date.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string(),
        path: text(1),
        referer: text(2),
        name: text(3),
        properties: some(text(4), ""),
        event_id: event_id.map(|id| id.replace('-', "")),
    }
}
