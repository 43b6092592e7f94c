//! The order of the rows in our tables. A server that is given them in it need not sort them, which takes
//! it longer than us; in another order they are the same to it.

use foldhash::{HashMap, HashMapExt};
use uuid::Uuid;

use super::rows::{day_of, visitor};
use crate::activity::{Activity, Session};

/// An activity and its number.
pub(super) type Numbered<'a> = (&'a Activity, i64);

/// Sorts by day, visitor, date and number.
pub(super) fn activities<'a>(rows: impl Iterator<Item = Numbered<'a>>) -> Vec<Numbered<'a>> {
    // At first by a number each, without looking at the activities; then those who share one.
    let head = |activity: &Activity| head(day_of(activity.date), of(activity));
    let mut rows: Vec<(u128, Numbered<'a>)> = rows.map(|row| (head(row.0), row)).collect();
    rows.sort_unstable_by_key(|(head, _)| *head);
    for alike in rows.chunk_by_mut(|one, other| one.0 == other.0) {
        if alike.len() > 1 {
            let rest = |(activity, id): Numbered<'a>| (of(activity), activity.date, id);
            alike.sort_unstable_by(|one, other| rest(one.1).cmp(&rest(other.1)));
        }
    }
    rows.into_iter().map(|(_, row)| row).collect()
}

/// An event_id, and the place of the activity that has it.
pub(super) type Placed = (Uuid, usize);

/// The activities without those whose event_id is `taken`, which is sorted, or another one's before; the
/// event_ids of those that are left, sorted. Ids that come nearly sorted cost less than a set of them.
pub(super) fn fresh<'a>(
    activities: &'a [Activity],
    taken: &[Uuid],
) -> (Vec<&'a Activity>, Vec<Placed>) {
    let placed = |(place, it): (usize, &Activity)| Some((it.event_id?, place));
    let mut ids: Vec<Placed> = activities.iter().enumerate().filter_map(placed).collect();
    ids.sort();
    let (mut taken, mut last, mut left_out) = (taken.iter().peekable(), None, Vec::new());
    ids.retain(|(id, place)| {
        while taken.next_if(|taken| *taken < id).is_some() {}
        let is_fresh = last.replace(*id) != Some(*id) && taken.peek() != Some(&id);
        if !is_fresh {
            left_out.push(*place);
        }
        is_fresh
    });
    left_out.sort_unstable();
    let mut left_out = left_out.into_iter().peekable();
    let is_left = |(place, _): &(usize, &Activity)| left_out.next_if_eq(place).is_none();
    let fresh = activities.iter().enumerate().filter(is_left).map(|(_, it)| it).collect();
    (fresh, ids)
}

/// The sessions of activities that are sorted, each with its activity of the lowest number: which was first.
pub(super) fn first_of_sessions<'a>(
    sorted: &[Numbered<'a>],
    is_new: impl Fn(&str) -> bool,
) -> Vec<(&'a Session, &'a Activity)> {
    let key = |(activity, _): &Numbered<'a>| activity.session.as_ref().map(|it| it.key.as_str());
    let mut first: HashMap<&str, Numbered<'a>> = HashMap::new();
    // Most have all of theirs side by side.
    for run in sorted.chunk_by(|one, other| key(one) == key(other)) {
        let Some(found) = run.iter().min_by_key(|(_, id)| *id) else { continue };
        let Some(key) = found.0.session.as_ref().map(|it| it.key.as_str()) else { continue };
        if is_new(key) {
            let first = first.entry(key).or_insert(*found);
            if found.1 < first.1 {
                *first = *found;
            }
        }
    }
    let with_session = |(activity, _): Numbered<'a>| Some((activity.session.as_ref()?, activity));
    let mut infos: Vec<_> = first.into_values().filter_map(with_session).collect();
    infos.sort_unstable_by(|one, other| one.0.key.cmp(&other.0.key));
    infos
}

/// Sorts byte by byte. Those that begin with their moment are nearly sorted as they come, which this
/// sort makes use of.
pub(super) fn events(ids: &mut [Uuid]) {
    ids.sort();
}

fn of(activity: &Activity) -> &str {
    activity.session.as_ref().map_or("", visitor)
}

/// A day and the first bytes of a text, to be compared as a number.
fn head(day: u16, text: &str) -> u128 {
    let mut bytes = [0; 16];
    let (first, rest) = bytes.split_at_mut(2);
    first.copy_from_slice(&day.to_be_bytes());
    match text.as_bytes().first_chunk::<14>() {
        Some(text) => rest.copy_from_slice(text),
        None => rest.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from),
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
        // Blank, a beginning of others, equal for fourteen bytes and more, beyond ASCII.
        let long = "a".repeat(14);
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
        ids.sort();
        assert_eq!(sorted, ids.map(Uuid::from_u128));
    }

    #[test]
    fn what_is_fresh_and_whose_it_is() {
        let with = |number: u32, id: Option<u128>, session: &str, day: i64| {
            let mut activity = conformance::activity(number);
            activity.date = day * 86_400_000_000;
            activity.event_id = id.map(Uuid::from_u128);
            let key = |it: &mut Session| it.key = session.into();
            activity.session.iter_mut().for_each(key);
            activity
        };
        let all = [
            with(0, Some(9), "b", 3),
            with(1, None, "a", 3),
            with(2, Some(4), "b", 1),
            with(3, Some(9), "c", 3),
            with(4, None, "a", 1),
            with(5, Some(1), "d", 1),
            with(6, Some(4), "e", 1),
            with(7, Some(6), "e", 1),
        ];
        let (fresh, ids) = fresh(&all, &[2, 6, 7].map(Uuid::from_u128));
        let places: Vec<&str> = fresh.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(places, [0, 1, 2, 4, 5].map(|it| format!("/path/{it}/")));
        assert_eq!(ids, [(1, 5), (4, 2), (9, 0)].map(|(id, place)| (Uuid::from_u128(id), place)));
        let sorted = activities(fresh.into_iter().zip(0..));
        let found = first_of_sessions(&sorted, |key| key != "d");
        let found: Vec<_> = found.iter().map(|(it, of)| (&*it.key, &*of.path)).collect();
        assert_eq!(found, [("a", "/path/1/"), ("b", "/path/0/")]);
    }
}
