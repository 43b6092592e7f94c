//! How long a connection may take for each thing it does: one small state a connection, looked
//! at four times a second, instead of timers that every request would set and cancel.
//!
//! | phase | limit |
//! | --- | --- |
//! | no byte since it was accepted | 10 s, closed |
//! | a head that has begun | 10 s, closed |
//! | a body | 1 KiB/s after 5 s, else 408 |
//! | an answer that the client does not read | 10 s, closed |
//! | idle between requests | 30 s, closed; a trusted proxy's: 180 s |
//!
//! hyper's own `header_read_timeout` is off: it does not know a first byte from an idle
//! connection, and needs a timer a request.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

use super::framing::{At, Framing};

/// How often the connections are looked at.
pub const SWEEP: Duration = Duration::from_millis(250);
const FIRST_BYTE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may be idle between requests.
pub const IDLE: Duration = Duration::from_secs(30);
/// The same of a trusted proxy. Proxies keep connections for the next request (nginx for 60 seconds,
/// Caddy for 120) and do not send a POST again that met the end of one: theirs must end first.
pub const PROXY_IDLE: Duration = Duration::from_secs(180);
const STALLED_WRITE: Duration = Duration::from_secs(10);
const BODY_GRACE: Duration = Duration::from_secs(5);
const BODY_BYTES_PER_SECOND: u64 = 1024;
/// A connection is closed after so many requests, or at this age, so that load balances anew.
const REQUESTS: u32 = 1_000;
const AGE: Duration = Duration::from_secs(300);

/// What a connection is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    FirstByte,
    Head,
    Body,
    /// Ours to answer.
    Answering,
    Idle,
}

/// The time as of the last look at the connections of a thread: limits of seconds need no better, and
/// the system need not be asked three times a request.
#[derive(Debug, Clone)]
struct Clock(Rc<Cell<Instant>>);

/// The state of one connection that its limits need.
#[derive(Debug)]
pub struct Pulse {
    clock: Clock,
    opened: Instant,
    /// How long it may be idle.
    idle: Duration,
    phase: Cell<Phase>,
    since: Cell<Instant>,
    body_bytes: Cell<u64>,
    write_stalled: Cell<Option<Instant>>,
    requests: Cell<u32>,
    end: Cell<Option<End>>,
    /// Who waits for the end.
    task: RefCell<Option<Waker>>,
    slow_body: Notify,
}

/// Why a connection ends before the client closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It overran a limit: close it now.
    Overdue,
    /// The server stops: answer what is being asked, then close.
    Shutdown,
}

impl Pulse {
    /// A connection that was accepted now, and may be idle for so long.
    fn new(clock: Clock, idle: Duration) -> Pulse {
        let now = clock.0.get();
        Pulse {
            clock,
            opened: now,
            idle,
            phase: Cell::new(Phase::FirstByte),
            since: Cell::new(now),
            body_bytes: Cell::new(0),
            write_stalled: Cell::new(None),
            requests: Cell::new(0),
            end: Cell::new(None),
            task: RefCell::default(),
            slow_body: Notify::new(),
        }
    }

    /// Counts a request; true when it is to be this connection's last.
    pub fn counts_out(&self) -> bool {
        self.requests.set(self.requests.get() + 1);
        self.requests.get() >= REQUESTS || self.clock.0.get() - self.opened >= AGE
    }

    /// Waits until the connection is to end. For the task of the connection alone, which looks at
    /// this each time that it runs.
    pub async fn ended(&self) -> End {
        poll_fn(|context| {
            if let Some(end) = self.end.get() {
                return Poll::Ready(end);
            }
            let mut task = self.task.borrow_mut();
            match &mut *task {
                Some(waker) => waker.clone_from(context.waker()),
                None => *task = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }

    /// Waits until the body turns out too slow.
    pub async fn slow_body(&self) {
        self.slow_body.notified().await;
    }

    fn end(&self, end: End) {
        self.end.set(Some(end));
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Looks at the limits.
    fn sweep(&self, now: Instant) {
        let waited = now.saturating_duration_since(self.since.get());
        let overdue = match self.phase.get() {
            Phase::FirstByte => waited > FIRST_BYTE,
            Phase::Head => waited > HEAD,
            Phase::Idle => waited > self.idle,
            Phase::Body => {
                let needed = waited.as_secs().saturating_mul(BODY_BYTES_PER_SECOND);
                if waited > BODY_GRACE && self.body_bytes.get() < needed {
                    self.slow_body.notify_one();
                }
                // The handler answers 408; should nobody be reading the body, close.
                waited > BODY_GRACE + HEAD && self.body_bytes.get() < needed
            }
            Phase::Answering => false,
        };
        let stalled = self
            .write_stalled
            .get()
            .is_some_and(|since| now.saturating_duration_since(since) > STALLED_WRITE);
        if overdue || stalled {
            self.end(End::Overdue);
        }
    }

    fn received(&self, at: At, bytes: usize) {
        let phase = match at {
            At::Boundary => Phase::Answering,
            // Or a client could keep a connection by sending nothing but empty lines.
            At::Between => return,
            At::Head => Phase::Head,
            At::Body => Phase::Body,
        };
        if self.phase.replace(phase) != phase {
            self.since.set(self.clock.0.get());
            self.body_bytes.set(0);
        }
        self.body_bytes.set(self.body_bytes.get() + bytes as u64);
    }

    fn sent(&self) {
        self.write_stalled.set(None);
        if self.phase.get() == Phase::Answering {
            self.phase.set(Phase::Idle);
            self.since.set(self.clock.0.get());
        }
    }
}

/// The connections of one thread.
#[derive(Debug, Clone)]
pub struct Pulses {
    clock: Clock,
    all: Rc<RefCell<Vec<Rc<Pulse>>>>,
}

impl Default for Pulses {
    fn default() -> Pulses {
        Pulses { clock: Clock(Rc::new(Cell::new(Instant::now()))), all: Rc::default() }
    }
}

impl Pulses {
    /// Adds a connection that was accepted now, and may be idle for so long.
    pub fn open(&self, idle: Duration) -> Rc<Pulse> {
        self.clock.0.set(Instant::now());
        let pulse = Rc::new(Pulse::new(self.clock.clone(), idle));
        self.all.borrow_mut().push(Rc::clone(&pulse));
        pulse
    }

    /// How many connections are open.
    pub fn count(&self) -> usize {
        self.all.borrow_mut().retain(|pulse| Rc::strong_count(pulse) > 1);
        self.all.borrow().len()
    }

    /// Looks at the limits of all; forgets those that closed. To be called every [`SWEEP`].
    pub fn sweep(&self) {
        let now = Instant::now();
        self.clock.0.set(now);
        self.all.borrow_mut().retain(|pulse| Rc::strong_count(pulse) > 1);
        self.all.borrow().iter().for_each(|pulse| pulse.sweep(now));
    }

    /// Asks all to finish what they answer and close.
    pub fn shut_down(&self) {
        self.all.borrow().iter().for_each(|pulse| pulse.end(End::Shutdown));
    }
}

/// A socket whose bytes pass [`Framing`] and set the [`Pulse`].
#[derive(Debug)]
pub struct Guarded {
    stream: TcpStream,
    framing: Framing,
    pulse: Rc<Pulse>,
}

impl Guarded {
    /// Guards a socket.
    pub fn new(stream: TcpStream, pulse: Rc<Pulse>) -> Guarded {
        Guarded { stream, framing: Framing::default(), pulse }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if let Some(new) = buf.filled_mut().get_mut(before..)
            && !new.is_empty()
        {
            let bytes = new.len();
            let at = this.framing.feed(new);
            this.pulse.received(at, bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Guarded {
    fn watch(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if poll.is_ready() {
            self.pulse.sent();
        } else if self.pulse.write_stalled.get().is_none() {
            self.pulse.write_stalled.set(Some(self.pulse.clock.0.get()));
        }
        poll
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Pulse {
        Pulse::new(Clock(Rc::new(Cell::new(now))), IDLE)
    }

    /// After `seconds` in `phase` with `bytes` of body: is the connection overdue?
    #[track_caller]
    fn check(phase: Phase, bytes: u64, seconds: u64, overdue: bool) {
        let start = Instant::now();
        let pulse = opened(start);
        pulse.phase.set(phase);
        pulse.body_bytes.set(bytes);
        pulse.sweep(start + Duration::from_secs(seconds));
        assert_eq!(pulse.end.get().is_some(), overdue, "{phase:?} {bytes} {seconds}");
    }

    #[test]
    fn each_phase_has_its_limit() {
        check(Phase::FirstByte, 0, 9, false);
        check(Phase::FirstByte, 0, 11, true);
        check(Phase::Head, 0, 9, false);
        check(Phase::Head, 0, 11, true);
        check(Phase::Idle, 0, 29, false);
        check(Phase::Idle, 0, 31, true);
        check(Phase::Answering, 0, 3_600, false);
        check(Phase::Body, 60_000, 20, false);
        check(Phase::Body, 100, 4, false);
        check(Phase::Body, 100, 16, true);
    }

    #[test]
    fn an_answer_that_nobody_reads_has_its_limit() {
        for phase in [Phase::Answering, Phase::Idle] {
            let start = Instant::now();
            let pulse = opened(start);
            pulse.phase.set(phase);
            pulse.write_stalled.set(Some(start));
            pulse.sweep(start + Duration::from_secs(9));
            assert_eq!(pulse.end.get(), None);
            pulse.sweep(start + Duration::from_secs(11));
            assert_eq!(pulse.end.get(), Some(End::Overdue), "{phase:?}");
        }
    }

    #[test]
    fn a_connection_has_an_age_and_a_number_of_requests() {
        let now = Instant::now();
        let young = opened(now);
        let requests = (1..).find(|_| young.counts_out());
        assert_eq!(requests, Some(REQUESTS));
        let old = opened(now);
        old.clock.0.set(now + AGE);
        assert!(old.counts_out());
    }

    #[test]
    fn empty_lines_change_nothing() {
        let start = Instant::now();
        let pulse = opened(start);
        for phase in [Phase::FirstByte, Phase::Answering, Phase::Idle] {
            pulse.phase.set(phase);
            pulse.since.set(start);
            pulse.received(At::Between, 2);
            assert_eq!((pulse.phase.get(), pulse.since.get()), (phase, start));
        }
    }
}
