//! An activity of which every field follows from who posts it and its number: a row can be
//! compared with what was sent without keeping what was sent.

use serde_json::{Value, json};

use super::mix;

/// The number of an activity of one client, in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id {
    pub(super) client: usize,
    pub(super) number: usize,
}

/// What is sent, and what is to be stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) date: String,
    pub(super) path: String,
    pub(super) referer: String,
    pub(super) name: String,
    pub(super) properties: Option<String>,
    pub(super) event_id: Option<String>,
}

impl Id {
    /// From the path of a row.
    pub(super) fn of_path(run: u64, path: &str) -> Option<Id> {
        let rest = path.strip_prefix(&format!("/{run:016x}/"))?;
        let mut parts = rest.split('/');
        let client = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        Some(Id { client, number })
    }

    /// What the path starts with.
    pub(super) fn marker(self, run: u64) -> String {
        format!("/{run:016x}/{}/{}/", self.client, self.number)
    }

    /// Its fields. Most are small; some need several pages of the spool. `named`: with an
    /// `event_id` in any case, else one in four.
    pub(super) fn fields(self, run: u64, named: bool) -> Sent {
        let dice = self.dice(run);
        let part = |shift: u32, of: u64| (dice >> shift) % of;
        let filler = |length: u64| "xé".repeat(usize::try_from(length / 2).unwrap());
        let long = part(0, 32) == 0;
        let path = self.marker(run) + &filler(if long { 1_800 } else { part(8, 60) });
        let referer = match part(16, 2) {
            0 => format!("https://example.com/{dice:x}"),
            _ => String::new(),
        };
        let name = if part(18, 4) == 0 { "buy" } else { "" };
        let bytes = if part(24, 64) == 0 { 5_000 } else { part(24, 300) };
        let properties = (part(20, 4) == 0)
            .then(|| json!({ "number": self.number, "filler": filler(bytes) }).to_string());
        let event_id = (named || part(22, 4) == 0).then(|| {
            let low = u128::from(mix(dice));
            let random = u128::from(dice) << 64 | low;
            uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid().simple().to_string()
        });
        Sent {
            date: format!("2016-12-29 07:35:{:02}.{:03}000", part(32, 60), 1 + part(40, 999)),
            path,
            referer,
            name: name.to_owned(),
            properties,
            event_id,
        }
    }

    fn dice(self, run: u64) -> u64 {
        let id = (self.client as u64) << 40 | self.number as u64;
        mix(mix(run) ^ mix(id.wrapping_add(1)))
    }

    /// How many activities from this one on are sent in one request.
    pub(super) fn batch(self, run: u64) -> usize {
        let dice = mix(self.dice(run));
        if dice.is_multiple_of(16) { usize::try_from(2 + (dice >> 8) % 7).unwrap() } else { 1 }
    }
}

impl Sent {
    /// As a form.
    pub(super) fn form(&self) -> String {
        let plain = |text: &str| text.replace('é', "%C3%A9");
        let mut form = format!("date={}&path={}", self.date.replace(' ', "T"), plain(&self.path));
        for (name, value) in [
            ("referer", Some(&self.referer)),
            ("name", Some(&self.name)),
            ("properties", self.properties.as_ref()),
            ("event_id", self.event_id.as_ref()),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                form += &format!("&{name}={}", plain(value));
            }
        }
        form
    }

    /// As an item of a batch.
    pub(super) fn json(&self) -> Value {
        let properties = self.properties.as_ref().map(|text| serde_json::from_str(text).unwrap());
        let mut item = json!({ "date": self.date, "path": self.path });
        let fields = [
            ("referer", Some(Value::from(self.referer.clone()))),
            ("name", Some(Value::from(self.name.clone()))),
            ("properties", properties),
            ("event_id", self.event_id.clone().map(Value::from)),
        ];
        for (name, value) in fields {
            if let Some(value) = value.filter(|value| value.as_str() != Some("")) {
                item[name] = value;
            }
        }
        item
    }
}
