//! One thread that asks the database, so that the threads that answer never wait inside a driver.
//!
//! Knows neither sessions nor tokens: it runs questions. Whatever keeps it from answering (an
//! error, a full queue, time) is the same to who asks: [`Away`].

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::store::{self, Directory};

/// How many questions may wait; one more is not asked.
const QUEUE: usize = 1_024;
/// How long who asks waits for the answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The database did not answer, or not in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away;

type Question = Box<dyn FnOnce(&mut dyn Directory) -> Result<(), store::Error> + Send>;

/// The way to the thread. It ends when this is dropped and the queue is empty.
#[derive(Debug)]
pub struct Lookup {
    queue: SyncSender<Question>,
    patience: Duration,
}

impl Lookup {
    /// Starts the thread, which owns `directory` from then on.
    pub fn start(directory: Box<dyn Directory>, patience: Duration) -> io::Result<Self> {
        let (queue, questions) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("look-up".to_owned())
            .spawn(move || answer(&questions, directory))?;
        Ok(Lookup { queue, patience })
    }

    /// The answer to `question`. Once nobody waits for it any more, it is not asked. Boxed, so that
    /// a request that needs no look-up has no place for one.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Directory) -> Result<T, store::Error> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Away>> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |directory| {
            if !reply.is_closed() {
                // Who asked may have left meanwhile; then nobody is to be told.
                let _ = reply.send(question(directory)?);
            }
            Ok(())
        });
        let queued = self.queue.try_send(question);
        let patience = self.patience;
        Box::pin(async move {
            queued.map_err(|_| Away)?;
            match tokio::time::timeout(patience, answer).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) | Err(_) => Err(Away),
            }
        })
    }
}

/// Answers until nobody can ask any more. A question that panics takes only itself along.
fn answer(questions: &Receiver<Question>, mut directory: Box<dyn Directory>) {
    let mut away = false;
    for question in questions {
        let failure = match catch_unwind(AssertUnwindSafe(|| question(&mut *directory))) {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the look-up panicked".to_owned()),
        };
        // Once per absence, not once per request.
        match (failure, away) {
            (Some(error), false) => {
                tracing::warn!(error, "sessions and tokens cannot be looked up");
                away = true;
            }
            (None, true) => {
                tracing::info!("sessions and tokens can be looked up again");
                away = false;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::store::{SessionRow, TokenKey, TokenRow, UserRow};

    struct Nothing;

    impl Directory for Nothing {
        fn session(&mut self, _: &str) -> Result<Option<SessionRow>, store::Error> {
            Ok(None)
        }
        fn user(&mut self, _: &str) -> Result<Option<UserRow>, store::Error> {
            Ok(None)
        }
        fn tokens(&mut self, _: TokenKey<'_>) -> Result<Vec<TokenRow>, store::Error> {
            Ok(Vec::new())
        }
    }

    fn start(patience: Duration) -> Lookup {
        Lookup::start(Box::new(Nothing), patience).unwrap()
    }

    #[tokio::test]
    async fn a_question_is_answered_after_an_error_and_after_a_panic() {
        let lookup = start(PATIENCE);
        let unavailable = || store::Error::Unavailable("gone".to_owned());
        assert_eq!(lookup.ask(move |_| Err::<(), _>(unavailable())).await, Err(Away));
        assert_eq!(lookup.ask(|_| -> Result<(), _> { panic!("on purpose") }).await, Err(Away));
        assert_eq!(lookup.ask(|_| Ok(7)).await, Ok(7));
    }

    #[tokio::test]
    async fn patience_ends_and_what_nobody_waits_for_is_not_asked() {
        let lookup = start(Duration::from_millis(50));
        let (release, wait) = mpsc::channel::<()>();
        let (asked, was_asked) = mpsc::channel();
        let stuck = lookup.ask(move |_| Ok(wait.recv().is_ok()));
        assert_eq!(stuck.await, Err(Away));
        let forgotten = lookup.ask(move |_| Ok(asked.send(())));
        assert_eq!(forgotten.await.map(|_| ()), Err(Away));
        release.send(()).unwrap();
        assert!(was_asked.recv().is_err());
    }

    #[tokio::test]
    async fn a_full_queue_is_away_at_once() {
        let lookup = start(Duration::from_secs(60));
        let (release, wait) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let block: Question = Box::new(move |_| {
            started.send(()).unwrap();
            wait.recv().unwrap();
            Ok(())
        });
        lookup.queue.send(block).unwrap();
        has_started.recv().unwrap();
        for _ in 0..QUEUE {
            lookup.queue.try_send(Box::new(|_| Ok(()))).unwrap();
        }
        assert_eq!(lookup.ask(|_| Ok(7)).await, Err(Away));
        release.send(()).unwrap();
    }
}
