//! Between Djaffar and a ClickHouse: lets everything through but what inserts activities, also into a
//! temporary table, which is now and then cut short, answered into nothing, delivered twice, or when
//! nobody waits for it.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use super::super::Dice;

/// How long a late request is kept.
const LATE: Duration = Duration::from_millis(700);

/// What became of the requests that insert activities.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) through: AtomicU32,
    pub(super) cut: AtomicU32,
    pub(super) swallowed: AtomicU32,
    pub(super) late: AtomicU32,
    pub(super) twice: AtomicU32,
    /// Of those, into a temporary table.
    pub(super) staged: AtomicU32,
}

pub(super) struct Proxy {
    pub(super) port: u16,
    pub(super) counts: Arc<Counts>,
    /// Whether it does harm.
    pub(super) harms: Arc<AtomicBool>,
}

impl Proxy {
    pub(super) fn start(server: SocketAddr, seed: u64) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy {
            port: listener.local_addr().unwrap().port(),
            counts: Arc::default(),
            harms: Arc::new(AtomicBool::new(true)),
        };
        let (counts, harms) = (Arc::clone(&proxy.counts), Arc::clone(&proxy.harms));
        let dice = Arc::new(Mutex::new(Dice(seed)));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (counts, harms, dice) = (counts.clone(), harms.clone(), dice.clone());
                thread::spawn(move || relay(client, server, &counts, &harms, &dice));
            }
        });
        proxy
    }
}

/// Requests one by one; answers as they come.
fn relay(
    mut client: TcpStream,
    server: SocketAddr,
    counts: &Counts,
    harms: &AtomicBool,
    dice: &Mutex<Dice>,
) -> Option<()> {
    let mut upstream = TcpStream::connect(server).ok()?;
    let swallow = Arc::new(AtomicBool::new(false));
    let (mut from, mut to, swallows) =
        (upstream.try_clone().ok()?, client.try_clone().ok()?, Arc::clone(&swallow));
    thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if swallows.load(Ordering::SeqCst) || to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        drop((to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both)));
    });
    loop {
        let (request, head) = request(&mut client)?;
        let url = String::from_utf8_lossy(&request[..head]);
        let stages = url.contains("INSERT+INTO+djaffar_frozen");
        let inserts = stages || url.contains("INSERT+INTO+djaffar_activity");
        let fate = match inserts && harms.load(Ordering::SeqCst) {
            true => dice.lock().unwrap().between(0, 7),
            false => 9,
        };
        if stages && fate < 5 {
            counts.staged.fetch_add(1, Ordering::SeqCst);
        }
        match fate {
            0 => {
                counts.cut.fetch_add(1, Ordering::SeqCst);
                let body = request.len() - head;
                let end = head + dice.lock().unwrap().next() as usize % body.max(1);
                upstream.write_all(&request[..end]).ok()?;
                drop((client.shutdown(Shutdown::Both), upstream.shutdown(Shutdown::Both)));
                return None;
            }
            1 | 2 => {
                counts.swallowed.fetch_add(1, Ordering::SeqCst);
                swallow.store(true, Ordering::SeqCst);
                upstream.write_all(&request).ok()?;
            }
            3 => {
                counts.late.fetch_add(1, Ordering::SeqCst);
                drop(client.shutdown(Shutdown::Both));
                thread::sleep(LATE);
                deliver(server, &request)?;
                return None;
            }
            4 => {
                counts.twice.fetch_add(1, Ordering::SeqCst);
                deliver(server, &request)?;
                upstream.write_all(&request).ok()?;
            }
            _ => {
                if inserts {
                    counts.through.fetch_add(1, Ordering::SeqCst);
                }
                upstream.write_all(&request).ok()?;
            }
        }
    }
}

/// For nobody: the answer is not looked at.
fn deliver(server: SocketAddr, request: &[u8]) -> Option<()> {
    let mut upstream = TcpStream::connect(server).ok()?;
    upstream.write_all(request).ok()?;
    drop(upstream.read(&mut [0; 1]));
    Some(())
}

/// A request, and where its head ends.
fn request(client: &mut TcpStream) -> Option<(Vec<u8>, usize)> {
    let mut request = Vec::new();
    let mut bytes = [0; 65_536];
    loop {
        if let Some(end) = request.windows(4).position(|end| end == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            let length = head.split("content-length:").nth(1)?.lines().next()?.trim();
            let whole = end + 4 + length.parse::<usize>().ok()?;
            while request.len() < whole {
                let count = client.read(&mut bytes).ok().filter(|count| *count > 0)?;
                request.extend(&bytes[..count]);
            }
            return Some((request, end + 4));
        }
        let count = client.read(&mut bytes).ok().filter(|count| *count > 0)?;
        request.extend(&bytes[..count]);
    }
}
