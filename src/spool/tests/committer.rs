//! Group commit on a current-thread runtime.

use std::{cell::RefCell, rc::Rc, time::Duration};

use tokio::task::LocalSet;

use super::*;
use crate::spool::{Committer, Error, Full, MAX_PAYLOAD};

fn with_committer<F: Future<Output = ()>>(test: impl Fn(Committer, Spool, Reader) -> F) {
    let dir = directory();
    let (spool, lane, reader) = open(options(dir.path()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let committer = Committer::new(lane).unwrap();
        tokio::task::spawn_local(committer.clone().run());
        test(committer, spool, reader).await;
    });
}

#[test]
fn who_appends_in_one_turn_shares_a_commit_and_is_woken_in_order() {
    with_committer(|committer, spool, mut reader| async move {
        let woken = Rc::new(RefCell::new(Vec::new()));
        let append = |n: u8| {
            let (committer, woken) = (committer.clone(), Rc::clone(&woken));
            async move {
                committer.append(&[n; 10]).await.unwrap();
                woken.borrow_mut().push(n);
            }
        };
        let tasks: Vec<_> = (0..100).map(|n| tokio::task::spawn_local(append(n))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*woken.borrow(), (0..100).collect::<Vec<u8>>());
        assert_eq!(spool.stats().waiting_bytes, 4_096, "one page, so one commit");
        let expected: Vec<_> = (0..100).map(|n| vec![n; 10]).collect();
        assert_eq!(payloads(&batches(&mut reader)), expected);
    });
}

#[test]
fn who_is_answered_shares_the_next_commit_with_the_few_who_came_meanwhile() {
    with_committer(|committer, spool, _reader| async move {
        for _ in 0..50 {
            let (one, other) = (committer.clone(), committer.clone());
            let during = tokio::task::spawn_local(async move {
                // The sync of the first is under way by then, mostly.
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
                other.append(b"x").await
            });
            let twice = tokio::task::spawn_local(async move {
                one.append(b"x").await.unwrap();
                one.append(b"x").await
            });
            twice.await.unwrap().unwrap();
            during.await.unwrap().unwrap();
        }
        // A page each. Were each committed as soon as it can be, there would be three a round.
        let commits = spool.stats().waiting_bytes / 4_096;
        assert!((100..125).contains(&commits), "{commits} commits in 50 rounds");
    });
}

#[test]
fn a_commit_waits_for_as_many_as_the_last_one_had_but_not_for_long() {
    with_committer(|committer, spool, _reader| async move {
        // Who is not back within a few turns of the event loop, as over a socket.
        let append = |number: usize| {
            let committer = committer.clone();
            async move {
                for _ in 0..20 {
                    committer.append(b"x").await.unwrap();
                    for _ in 0..5 * number {
                        tokio::task::yield_now().await;
                    }
                }
                if number == 0 {
                    // The other nine do not come again.
                    let last = committer.append(b"x");
                    tokio::time::timeout(Duration::from_secs(60), last).await.unwrap().unwrap();
                }
            }
        };
        let tasks: Vec<_> = (0..10).map(|n| tokio::task::spawn_local(append(n))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        // A page each.
        let commits = spool.stats().waiting_bytes / 4_096;
        assert!((21..40).contains(&commits), "{commits} commits");
    });
}

#[test]
fn who_becomes_ready_in_the_same_turn_joins_the_commit() {
    with_committer(|committer, spool, _reader| async move {
        tokio::task::yield_now().await;
        let append = |committer: &Committer| {
            let committer = committer.clone();
            tokio::task::spawn_local(async move { committer.append(b"x").await })
        };
        let first = append(&committer);
        // Starts its own only when the first has appended already.
        let second = tokio::task::spawn_local(async move { append(&committer).await });
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap().unwrap();
        assert_eq!(spool.stats().waiting_bytes, 4_096, "one page, so one commit");
    });
}

#[test]
fn a_batch_is_taken_as_a_whole_or_not_at_all() {
    with_committer(|committer, spool, mut reader| async move {
        let too_large = [vec![1; 9], vec![2; MAX_PAYLOAD + 1], vec![3; 9]];
        let refused = committer.append_all(&too_large).await;
        assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
        let too_many = vec![vec![4; MAX_PAYLOAD]; 70];
        let refused = committer.append_all(&too_many).await;
        assert!(matches!(refused, Err(Error::Full(Full::Commit(_)))), "{refused:?}");
        let good = [vec![5; 9], vec![6; 9]];
        committer.append_all(&good).await.unwrap();
        assert_eq!(spool.stats().waiting_bytes, 4_096, "one page, so one commit");
        assert_eq!(payloads(&batches(&mut reader)), good);
    });
}

#[test]
fn close_commits_the_rest_and_takes_no_more() {
    with_committer(|committer, _spool, mut reader| async move {
        let late = committer.clone();
        let waits = tokio::task::spawn_local(async move { late.append(b"late").await });
        tokio::task::yield_now().await;
        committer.close().await;
        waits.await.unwrap().unwrap();
        committer.close().await;
        assert!(matches!(committer.append(b"x").await, Err(Error::Closed)));
        assert_eq!(payloads(&batches(&mut reader)), [b"late"]);
    });
}

#[test]
fn who_stops_waiting_harms_nobody() {
    with_committer(|committer, _spool, mut reader| async move {
        let gone = committer.clone();
        let gone = tokio::task::spawn_local(async move { gone.append(b"gone").await });
        tokio::task::yield_now().await;
        gone.abort();
        committer.append(b"stays").await.unwrap();
        let left = payloads(&batches(&mut reader));
        assert_eq!(left.last().unwrap(), b"stays");
    });
}

#[test]
fn everyone_who_waits_is_told_of_a_failure() {
    let dir = directory();
    let (_spool, mut lane, mut reader) = open(options(dir.path()));
    let prepared = &mut lane.active.as_mut().unwrap().prepared;
    prepared.file = fs::File::open(&prepared.segment.path).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let committer = Committer::new(lane).unwrap();
        tokio::task::spawn_local(committer.clone().run());
        let (a, b) = tokio::join!(committer.append(b"a"), committer.append(b"b"));
        assert!(matches!((a, b), (Err(Error::Io { .. }), Err(Error::Io { .. }))));
        committer.append(b"c").await.unwrap();
    });
    assert_eq!(payloads(&batches(&mut reader)), [b"c"]);
}
