//! The order of the rows in our tables. A server that is given them in it need not sort them, which takes
//! it longer than us; in another order they are the same to it.

use uuid::Uuid;

use super::rows::{day_of, visitor};
use crate::activity::{Activity, Session};

/// An activity and its number.
pub(super) type Numbered<'a> = (&'a Activity, i64);

/// Sorts by day, visitor, date and number.
pub(super) fn activities<'a>(rows: impl Iterator<Item = Numbered<'a>>) -> Vec<Numbered<'a>> {
    /// Most differ in what is compared first, without looking at the activity.
    type Row<'a> = ((u16, u128), Numbered<'a>);
    let key = |activity: &Activity| (day_of(activity.date), head(of(activity)));
    let mut rows: Vec<Row<'a>> = rows.map(|row| (key(row.0), row)).collect();
    let rest = |(_, (activity, id)): &Row<'a>| (of(activity), activity.date, *id);
    rows.sort_unstable_by(|one, other| {
        one.0.cmp(&other.0).then_with(|| rest(one).cmp(&rest(other)))
    });
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Sorts by session.
pub(super) fn infos(infos: &mut [(&Session, &Activity)]) {
    infos.sort_unstable_by(|one, other| one.0.key.cmp(&other.0.key));
}

/// Sorts as ClickHouse compares them: by the second half first.
pub(super) fn events(ids: &mut [Uuid]) {
    ids.sort_unstable_by_key(|id| {
        let (first, second) = id.as_u64_pair();
        (second, first)
    });
}

fn of(activity: &Activity) -> &str {
    activity.session.as_ref().map_or("", visitor)
}

/// The first bytes of a text, to be compared as a number.
fn head(text: &str) -> u128 {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn as_the_tables_are_sorted() {
        let mut all = Vec::new();
        // Blank, a beginning of others, equal for sixteen bytes, beyond ASCII.
        let long = "a".repeat(16);
        let visitors = ["", "a", &long, &format!("{long}b"), &format!("{long}ü"), "ab", "b", "é"];
        for day in [-1, 3, 4] {
            for visitor in visitors {
                for (date, id) in [(1, 1), (1, 2), (2, 0)] {
                    let mut activity = conformance::activity(1);
                    activity.date = day * 86_400_000_000 + date;
                    if let Some(session) = &mut activity.session {
                        session.visitor = Some(visitor.into());
                    }
                    all.push((activity, id));
                }
            }
        }
        let shuffled = (0..all.len()).map(|place| &all[place * 31 % all.len()]);
        let sorted = activities(shuffled.map(|(activity, id)| (activity, *id)));
        let told = |(activity, id): &Numbered<'_>| (activity.date, of(activity).to_owned(), *id);
        let sorted: Vec<_> = sorted.iter().map(told).collect();
        let want: Vec<_> = all.iter().map(|(activity, id)| told(&(activity, *id))).collect();
        assert_eq!(sorted, want);
        let mut ids = [0x1_u128 << 64 | 3, 0x9_u128 << 64 | 1, 0x2_u128 << 64 | 3, 2];
        let mut sorted = ids.map(Uuid::from_u128);
        events(&mut sorted);
        ids.sort_by_key(|id| (*id as u64, *id >> 64));
        assert_eq!(sorted, ids.map(Uuid::from_u128));
    }
}
