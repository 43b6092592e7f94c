//! The accept loop: one listener a thread (`SO_REUSEPORT`), each with a runtime and a lane of the
//! spool of its own, so that no answer waits for another thread.
//!
//! axum's `serve` is not used: it has no limit of connections and no time-out before the first
//! byte. HTTP/1.1 only: behind a proxy HTTP/2 gains nothing, and a public HTTP/2 port has to
//! withstand more (reset floods, CONTINUATION floods).

use std::{
    cell::Cell,
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    pin::pin,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::watch,
    task::spawn_local,
};

use super::{
    App, Ingest, Settings,
    client::is_trusted,
    limit,
    pulse::{End, Guarded, IDLE, PROXY_IDLE, Pulse, Pulses, SWEEP},
};
use crate::spool::{Committer, Lane};

/// The largest head of a request, in bytes, and the most fields in it.
const HEAD: usize = 16 * 1024;
const FIELDS: usize = 100;
/// How long a stopping server waits for the requests that it is answering.
pub const GRACE: Duration = Duration::from_secs(10);

/// Opens `threads` listeners on one address. With port 0 the system chooses one for all.
///
/// # Errors
/// When the address is taken, or is not ours.
pub fn bind(address: SocketAddr, threads: usize) -> io::Result<Vec<TcpListener>> {
    // SO_REUSEPORT would quietly share the port with another server: ask without it first.
    let probe = socket(address, false)?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    (0..threads)
        .map(|_| {
            let socket = socket(address, true)?;
            socket.listen(4096)?;
            Ok(socket.into())
        })
        .collect()
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The connections of all threads, counted.
#[derive(Debug, Default)]
pub struct Crowd {
    all: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// A place in the [`Crowd`]; free again when dropped.
#[derive(Debug)]
struct Place {
    crowd: Arc<Crowd>,
    /// Who has it: an IPv4 address, or the /64 that an IPv6 client has to itself; `None`: a trusted
    /// proxy.
    address: Option<IpAddr>,
}

impl Crowd {
    /// A place for a connection, if there is one.
    fn enter(self: &Arc<Crowd>, peer: IpAddr, settings: &Settings) -> Option<Place> {
        if self.all.load(Ordering::Relaxed) >= settings.connections {
            return None;
        }
        let peer = peer.to_canonical();
        let address = (!is_trusted(peer, &settings.trusted_proxy)).then(|| limit::client(peer));
        if let Some(address) = address {
            let mut counts = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(address).or_default();
            if *count >= settings.connections_per_address {
                return None;
            }
            *count += 1;
        }
        self.all.fetch_add(1, Ordering::Relaxed);
        Some(Place { crowd: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.all.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut counts = self.crowd.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

impl Place {
    /// How long its connection may be idle.
    fn idle(&self) -> Duration {
        if self.address.is_some() { IDLE } else { PROXY_IDLE }
    }
}

/// Serves on this thread until `stop` turns true, then finishes what is being answered.
///
/// # Errors
/// When the runtime or the listener cannot be set up.
pub fn run(
    listener: TcpListener,
    app: Arc<App>,
    crowd: Arc<Crowd>,
    lane: Lane,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        // All that is ready is read before the event loop turns: one sync for all of it.
        .event_interval(1024)
        .build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let committer = Committer::new(lane).map_err(io::Error::other)?;
        let commits = spawn_local(committer.clone().run());
        let thread = Thread {
            ingest: Rc::new(Ingest { app, committer: committer.clone() }),
            crowd,
            pulses: Pulses::default(),
        };
        thread.accept(listener, stop).await;
        thread.finish().await;
        committer.close().await;
        drop(commits);
        Ok(())
    })
}

struct Thread {
    ingest: Rc<Ingest>,
    crowd: Arc<Crowd>,
    pulses: Pulses,
}

impl Thread {
    async fn accept(&self, listener: tokio::net::TcpListener, mut stop: watch::Receiver<bool>) {
        let pulses = self.pulses.clone();
        let sweeper = spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                pulses.sweep();
            }
        });
        let stopped = stop.wait_for(|stop| *stop);
        let mut stopped = pin!(stopped);
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.connection(stream, peer.ip()),
                    Err(error) => {
                        // Out of file descriptors, mostly: more of the same if we hurry.
                        tracing::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        sweeper.abort();
    }

    fn connection(&self, stream: tokio::net::TcpStream, peer: IpAddr) {
        let Some(place) = self.crowd.enter(peer, &self.ingest.app.settings) else { return };
        // Answers are small and complete: nothing is gained by waiting for more.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let (ingest, pulse) = (Rc::clone(&self.ingest), self.pulses.open(place.idle()));
        spawn_local(async move {
            serve(&ingest, stream, peer, &pulse).await;
            drop(place);
        });
    }

    async fn finish(&self) {
        self.pulses.shut_down();
        let since = Instant::now();
        while self.pulses.count() > 0 && since.elapsed() < GRACE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn serve(
    ingest: &Rc<Ingest>,
    stream: tokio::net::TcpStream,
    peer: IpAddr,
    pulse: &Rc<Pulse>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (ingest, pulse) = (Rc::clone(ingest), Rc::clone(pulse));
        let (mut parts, mut incoming) = request.into_parts();
        async move {
            let answer = ingest.answer(&mut parts, &mut incoming, peer, &pulse).await;
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let io = TokioIo::new(Guarded::new(stream, Rc::clone(pulse)));
    let connection = http1::Builder::new()
        .max_headers(FIELDS)
        .max_header_size(HEAD)
        .max_buf_size(2 * HEAD)
        .header_read_timeout(None)
        // Who has sent all and closes, as a page that is left, or the proxy before it, has said
        // something all the same: what waits for a look-up is not given up for that.
        .half_close(true)
        // Answers are a few hundred bytes: copied together they are one write.
        .writev(false)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let stopping = Cell::new(false);
    loop {
        tokio::select! {
            biased;
            // What a client does wrong on its own connection is its own affair.
            _ = connection.as_mut() => return,
            end = pulse.ended(), if !stopping.get() => match end {
                End::Overdue => return,
                End::Shutdown => {
                    stopping.set(true);
                    connection.as_mut().graceful_shutdown();
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_has_so_many_places_and_a_network_of_ipv6_is_one_client() {
        let settings = Settings {
            prefix: "/".into(),
            tracker_name: String::new(),
            trusted_proxy: vec!["10.0.0.0/8".parse().unwrap()],
            allowed_origin: Vec::new(),
            allowed_host: Vec::new(),
            cookie: crate::config::SessionCookie::default(),
            zone: jiff::tz::TimeZone::UTC,
            connections: 12,
            connections_per_address: 2,
        };
        let crowd = Arc::new(Crowd::default());
        let enter = |peer: &str| crowd.enter(peer.parse().unwrap(), &settings);
        let places = ["192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"];
        let places: Vec<_> = places.iter().map(|peer| enter(peer).unwrap()).collect();
        for taken in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::3", "2001:db8::ffff:1:2:3"] {
            assert!(enter(taken).is_none(), "{taken}");
        }
        let proxied: Vec<_> = (0..10).map_while(|_| enter("10.0.0.1")).collect();
        assert_eq!(proxied.len(), 7, "any number, but not more than all");
        assert!(proxied.iter().all(|place| place.idle() == PROXY_IDLE));
        assert!(places.iter().all(|place| place.idle() == IDLE));
        drop((places, proxied));
        assert!(enter("2001:db8::3").is_some());
        assert!(crowd.by_address.lock().unwrap().is_empty(), "what is free is forgotten");
        assert_eq!(crowd.all.load(Ordering::Relaxed), 0);
    }
}
