//! Clients that post as fast as they are answered, and take down what was answered.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    activity::{Id, Sent},
    mix,
};
use crate::support::{Answer, Wire, wire::head};

/// What became of an activity that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No answer came: stored once or not at all.
    Unanswered,
    /// 204, or accepted in a batch: stored once.
    Acknowledged,
    /// 503.
    Refused,
}

/// Many clients.
pub(super) struct Fleet {
    pub(super) run: u64,
    pub(super) clients: Vec<Client>,
}

impl Fleet {
    pub(super) fn new(run: u64, clients: usize) -> Fleet {
        let client = |number| Client {
            run,
            number,
            cookie: None,
            outcomes: Vec::new(),
            insists: false,
            pause: Duration::ZERO,
        };
        Fleet { run, clients: (0..clients).map(client).collect() }
    }

    /// Every activity gets an `event_id`, and is sent again until there is an answer.
    pub(super) fn insist(&mut self) {
        self.clients.iter_mut().for_each(|client| client.insists = true);
    }

    /// Who insists sends the first activities again, as if there had been no answer.
    pub(super) fn doubt(&mut self, count: usize) {
        for client in &mut self.clients {
            let outcomes = client.outcomes.iter_mut().take(count);
            outcomes.for_each(|outcome| *outcome = Outcome::Unanswered);
        }
    }

    /// Each client waits so long between its requests.
    pub(super) fn pause(&mut self, pause: Duration) {
        self.clients.iter_mut().for_each(|client| client.pause = pause);
    }

    /// Posts while `meanwhile` lasts, or until the server is gone.
    pub(super) fn load<T>(&mut self, address: SocketAddr, meanwhile: impl FnOnce() -> T) -> T {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for client in &mut self.clients {
                let stop = &stop;
                scope.spawn(move || client.post(address, stop));
            }
            // Also when it panics: the clients would post for ever.
            let stopping = Stopping(&stop);
            let result = meanwhile();
            drop(stopping);
            result
        })
    }

    /// Posts until `done`, or for this time; says whether it was done.
    pub(super) fn load_until(
        &mut self,
        address: SocketAddr,
        limit: Duration,
        mut done: impl FnMut() -> bool,
    ) -> bool {
        self.load(address, || {
            let until = Instant::now() + limit;
            while Instant::now() < until {
                if done() {
                    return true;
                }
                thread::sleep(Duration::from_millis(5));
            }
            false
        })
    }

    /// What was sent under this id.
    pub(super) fn fields(&self, id: Id) -> Sent {
        id.fields(self.run, self.clients[id.client].insists)
    }

    /// How many activities had this outcome.
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        let outcomes = self.clients.iter().flat_map(|client| &client.outcomes);
        outcomes.filter(|other| **other == outcome).count()
    }
}

struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One client: a connection after the other.
pub(super) struct Client {
    run: u64,
    number: usize,
    cookie: Option<String>,
    /// By the activity's number.
    pub(super) outcomes: Vec<Outcome>,
    insists: bool,
    pause: Duration,
}

/// The activities of one request.
type Numbers = std::ops::Range<usize>;

impl Client {
    fn post(&mut self, address: SocketAddr, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            // Refused or reset: the server is gone.
            let Ok(mut wire) = Wire::open(address) else { return };
            if !self.converse(&mut wire, stop) {
                return;
            }
        }
    }

    /// Posts on one connection. False: it broke.
    fn converse(&mut self, wire: &mut Wire, stop: &AtomicBool) -> bool {
        while !stop.load(Ordering::Relaxed) {
            let requests = self.next_requests();
            let mut bytes = Vec::new();
            for numbers in &requests {
                self.write(numbers.clone(), &mut bytes);
            }
            wire.send(bytes);
            for numbers in requests {
                let Some(answer) = wire.answer() else { return false };
                self.take_down(numbers, &answer);
                if answer.header("connection") == Some("close") {
                    return true;
                }
                if answer.status == 503 {
                    thread::sleep(Duration::from_millis(20));
                }
            }
            thread::sleep(self.pause);
        }
        true
    }

    /// New activities, or, when it insists, those without an answer. The first request is alone,
    /// as it brings the cookie; others come up to four at once.
    fn next_requests(&mut self) -> Vec<Numbers> {
        if self.insists {
            let open = |outcome: &Outcome| *outcome != Outcome::Acknowledged;
            if let Some(again) = self.outcomes.iter().position(open) {
                return std::iter::once(again..again + 1).collect();
            }
        }
        let together = match self.cookie {
            Some(_) => 1 + mix(self.outcomes.len() as u64) % 4,
            None => 1,
        };
        let mut requests = Vec::new();
        for _ in 0..together {
            let from = self.outcomes.len();
            let batch = Id { client: self.number, number: from }.batch(self.run);
            let batch = if self.cookie.is_some() { batch } else { 1 };
            self.outcomes.resize(from + batch, Outcome::Unanswered);
            requests.push(from..from + batch);
        }
        requests
    }

    fn write(&self, numbers: Numbers, bytes: &mut Vec<u8>) {
        let single = numbers.len() == 1;
        let sent =
            numbers.map(|number| Id { client: self.number, number }.fields(self.run, self.insists));
        let (kind, body) = if single {
            ("application/x-www-form-urlencoded", sent.map(|sent| sent.form()).collect::<String>())
        } else {
            ("application/json", Value::from_iter(sent.map(|sent| sent.json())).to_string())
        };
        let mut headers = vec![("Content-Type", kind)];
        headers.extend(self.cookie.as_deref().map(|cookie| ("Cookie", cookie)));
        bytes.extend(head("POST", "/djaffar/log/", &headers, body.len()).bytes());
        bytes.extend(body.bytes());
    }

    fn take_down(&mut self, numbers: Numbers, answer: &Answer) {
        let outcome = match answer.status {
            204 => Outcome::Acknowledged,
            200 => {
                let known = answer.json();
                let count = |name: &str| known[name].as_u64().unwrap();
                assert_eq!(count("accepted") + count("duplicates"), numbers.len() as u64);
                Outcome::Acknowledged
            }
            503 => {
                let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                assert!(seconds <= 60, "{answer:?}");
                Outcome::Refused
            }
            _ => panic!("{answer:?}"),
        };
        self.outcomes[numbers].fill(outcome);
        if let Some(session) = answer.session() {
            self.cookie = Some(format!("sessionid={session}"));
        }
    }
}
