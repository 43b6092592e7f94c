//! SIGKILL at any moment.

use std::time::Instant;

use super::{fleet::Outcome, rig::Rig, setting};

/// A look at the database after so many kills.
const BETWEEN_AUDITS: u64 = 20;

/// Loads and kills so often; one in ten is killed again while it starts.
fn kill(rig: &mut Rig, kills: u64, mut after: impl FnMut(&mut Rig, u64)) {
    for number in 1..=kills {
        let server = rig.serve();
        let time = rig.dice.millis(5, 300);
        rig.load_and_kill(server, time);
        if rig.dice.between(0, 10) == 0 {
            rig.kill_while_starting();
        }
        after(rig, number);
    }
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled() {
    let (kills, start) = (setting("KILLS", 200), Instant::now());
    let mut rig = Rig::new();
    kill(&mut rig, kills, |rig, number| {
        if number % BETWEEN_AUDITS == 0 {
            let server = rig.serve();
            let findings = rig.must_be_clean(&server);
            assert!(findings.acknowledged > 0);
        }
    });
    let server = rig.serve();
    let findings = rig.must_be_clean_from_the_start(&server);
    assert_eq!(findings.refused, [], "503 without need");
    assert!(findings.acknowledged as u64 > 10 * kills, "hardly any load");
    assert!(findings.unanswered > 0, "no kill hit a commit");
    println!("{kills} kills in {:.1} s", start.elapsed().as_secs_f32());
}

#[test]
fn an_event_id_that_is_sent_until_it_is_answered_is_stored_once() {
    let mut rig = Rig::new();
    rig.fleet.insist();
    kill(&mut rig, 20, |_, _| ());
    let server = rig.serve();
    // Whatever is open is sent first, one by one; what is left then is sent by the next load.
    for _ in 0..20 {
        rig.load(&server, std::time::Duration::from_millis(300));
        if rig.fleet.count(Outcome::Unanswered) == 0 {
            break;
        }
    }
    assert_eq!(rig.fleet.count(Outcome::Unanswered), 0);
    rig.must_be_clean_from_the_start(&server);
}

/// The harness is tried: the same random kills notice a cursor outside of the rows' transaction.
#[test]
fn a_cursor_outside_of_the_transaction_is_noticed() {
    let mut rig = Rig::new().breaking("cursor");
    for number in 1..=100 {
        kill(&mut rig, 1, |_, _| ());
        let _server = rig.serve();
        let doubled = rig.audit().doubled.len();
        if doubled > 0 {
            println!("{doubled} doubled after {number} kills");
            return;
        }
    }
    panic!("nothing doubled: the harness does not see it");
}
