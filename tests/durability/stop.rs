//! SIGTERM: in order, in time, without loss.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::rig::Rig;

#[test]
fn stopping_under_load_loses_nothing() {
    let mut rig = Rig::new();
    for round in 0..5 {
        let server = rig.serve();
        let time = rig.dice.millis(50, 400);
        // The database is away as the server stops: what is left waits in the spool.
        let lock = (round % 2 == 1).then(|| rig.lock());
        let (status, took) = rig.fleet.load(server.address, || {
            thread::sleep(time);
            let start = Instant::now();
            (server.stop(), start.elapsed())
        });
        assert!(status.success(), "{status}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        drop(lock);
    }
    let server = rig.serve();
    rig.must_be_clean_from_the_start(&server);
}
