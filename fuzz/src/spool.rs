//! Reading a segment of the spool. The input is the file.

use djaffar::spool::{MAX_PAYLOAD, record, scan};

/// Records come in order, lie within the file and are no longer than a record may be; damage lies
/// within the file; a payload that is an activity says the same when it is written again.
///
/// # Panics
/// When that does not hold.
pub fn check(data: &[u8]) {
    let found = scan(data);
    let mut last = None;
    for entry in &found.records {
        assert!(last < Some(entry.at), "out of order at {}", entry.at);
        last = Some(entry.at);
        assert!(entry.at < data.len() as u64 && entry.payload.len() <= MAX_PAYLOAD);
        again(&entry.payload);
    }
    for range in &found.damaged {
        assert!(range.start < range.end && range.end <= data.len() as u64, "{range:?}");
    }
    again(data);
}

fn again(payload: &[u8]) {
    let Ok(activity) = record::decode(payload) else { return };
    let mut written = Vec::new();
    record::encode(&activity, &mut written);
    assert_eq!(record::decode(&written).ok(), Some(activity));
}
