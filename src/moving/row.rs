//! A row in the one form that it has in every database, and its hash. Pure.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::activity::Micros;
use crate::store::{Key, Moments, StoredActivity, StoredSession};

/// MariaDB's `uuid` does not take each UUID: this bit may be cleared there.
const HELD: u128 = 1 << 79;

/// Below this, a float that is whole is exactly one integer.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// Microseconds of a day.
const DAY: Micros = 86_400_000_000;

/// What is the same on both sides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form<'a> {
    pub(super) moments: &'a Moments,
    /// Rows keep their ids.
    pub(super) ids: bool,
    /// Sessions keep what is derived from their browser.
    pub(super) derived: bool,
}

/// The day (since 1970, in UTC) and the hash of a row.
pub(super) fn of_activity(row: &StoredActivity, form: Form<'_>) -> (i64, u128) {
    // As any other moment: what PostgreSQL keeps of digits that no clock ever showed, it gives back as
    // others of the same moment.
    let date = form.moments.instant(row.date).unwrap_or(Micros::MIN);
    let received_at = row.received_at.and_then(|at| form.moments.instant(at));
    let event_id = row.event_id.map(|id| Uuid::from_u128(id.as_u128() & !HELD));
    let mut hash = Hash::default();
    if form.ids {
        hash.add(&row.id.to_le_bytes());
    }
    let user = row.user.as_ref().map(|key| match key {
        Key::Integer(number) => number.to_string(),
        Key::Text(text) => text.clone(),
    });
    hash.option(user.as_deref());
    hash.option(row.session.as_deref());
    let address = row.ip_address.parse::<std::net::IpAddr>().map(|it| it.to_string());
    hash.add(address.as_deref().unwrap_or(&row.ip_address).as_bytes());
    hash.add(&date.to_le_bytes());
    hash.add(row.path.as_bytes());
    hash.add(row.referer.as_bytes());
    hash.add(&received_at.map_or([0; 8], i64::to_le_bytes));
    hash.add(event_id.unwrap_or_default().as_bytes());
    hash.add(row.name.as_bytes());
    hash.option(row.properties.as_deref().map(canonical).as_deref());
    (date.div_euclid(DAY), hash.finish())
}

/// The hash of a session's info.
pub(super) fn of_session(info: &StoredSession, form: Form<'_>) -> u128 {
    let created_at = info.created_at.and_then(|at| form.moments.instant(at));
    let mut hash = Hash::default();
    for text in [&info.session, &info.user_agent, &info.visitor] {
        hash.add(text.as_bytes());
    }
    hash.add(&created_at.map_or([0; 8], i64::to_le_bytes));
    if form.derived {
        for text in [&info.browser, &info.os, &info.device, &info.country] {
            hash.option(text.as_deref());
        }
        hash.add(&[info.bot.map_or(2, u8::from)]);
    }
    hash.finish()
}

/// SHA-256 over fields, each with its length.
#[derive(Default)]
struct Hash(Sha256);

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn option(&mut self, text: Option<&str>) {
        // Blank and NULL are the same in ClickHouse, and no field is both.
        self.add(text.unwrap_or_default().as_bytes());
    }

    fn finish(self) -> u128 {
        let digest = self.0.finalize();
        digest.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
    }
}

/// JSON with sorted keys and numbers in one form: `jsonb` keeps neither order nor form.
fn canonical(text: &str) -> String {
    use serde_json::Value;
    fn sorted(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut pairs: Vec<_> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
                pairs.sort_by(|one, other| one.0.cmp(&other.0));
                Value::Object(pairs.into_iter().collect())
            }
            Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
            // As the databases print them: 1.0 and 1e0 are 1, and there is no negative zero.
            Value::Number(number) if number.is_f64() => match number.as_f64() {
                Some(float) if float.fract() == 0.0 && float.abs() < EXACT => {
                    Value::from(float as i64)
                }
                _ => Value::Number(number),
            },
            value => value,
        }
    }
    serde_json::from_str(text).map_or_else(|_| text.to_owned(), |it| sorted(it).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_all_databases_is_one() {
        for (one, other) in [
            (r#"{"b":1,"a":[1.0,{"d":1,"c":2}]}"#, r#"{"a": [1, {"c": 2, "d": 1}], "b": 1}"#),
            (r#"{"a":-0.0}"#, r#"{"a":0}"#),
            (r#"{"a":1e2}"#, r#"{"a":100}"#),
            (r#"{"a":"\u00e9"}"#, r#"{"a":"é"}"#),
        ] {
            assert_eq!(canonical(one), canonical(other));
        }
        assert_ne!(canonical(r#"{"a":[1,2]}"#), canonical(r#"{"a":[2,1]}"#));
        assert_ne!(canonical(r#"{"a":1}"#), canonical(r#"{"a":"1"}"#));
    }

    fn row() -> StoredActivity {
        StoredActivity {
            id: 1,
            user: Some(Key::Integer(7)),
            session: Some("a".into()),
            ip_address: "2001:DB8::1".into(),
            date: jiff::civil::date(2026, 1, 2).at(3, 4, 5, 0),
            path: "/a".into(),
            referer: "/b".into(),
            received_at: None,
            event_id: None,
            name: String::new(),
            properties: None,
        }
    }

    #[test]
    fn every_field_counts() {
        let moments = Moments::new(&crate::store::Settings::default());
        let form = Form { moments: &moments, ids: true, derived: true };
        let hash = |row: &StoredActivity| of_activity(row, form).1;
        let at = jiff::civil::date(2026, 1, 2).at(3, 4, 6, 0);
        let id = Uuid::from_u128(9);
        let others = [
            row(),
            StoredActivity { id: 2, ..row() },
            StoredActivity { user: None, ..row() },
            StoredActivity { session: None, ..row() },
            StoredActivity { ip_address: "::1".into(), ..row() },
            StoredActivity { date: at, ..row() },
            StoredActivity { path: "/a/b".into(), referer: String::new(), ..row() },
            StoredActivity { referer: "/c".into(), ..row() },
            StoredActivity { received_at: Some(at), ..row() },
            StoredActivity { event_id: Some(id), ..row() },
            StoredActivity { name: "n".into(), ..row() },
            StoredActivity { properties: Some("{}".into()), ..row() },
        ];
        let hashes: std::collections::HashSet<u128> = others.iter().map(hash).collect();
        assert_eq!(hashes.len(), others.len());
        let same = StoredActivity {
            user: Some(Key::Text("7".into())),
            ip_address: "2001:db8::1".into(),
            ..row()
        };
        assert_eq!(hash(&same), hash(&row()));
        assert_eq!(of_activity(&row(), form).0, 20_455);
        let other = Form { ids: false, ..form };
        let moved = StoredActivity { id: 5, ..row() };
        assert_eq!(of_activity(&row(), other), of_activity(&moved, other));
    }
}
