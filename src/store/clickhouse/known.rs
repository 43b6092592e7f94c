//! Which event_ids a shard has.
//!
//! Ids that begin with their moment (UUIDv7: the tracker's are) lie together in the sorted table, those of a
//! batch in a range or a few. Then the server is asked for what it has between them, which is little or
//! nothing: it reads a few pages, and no ids are sent to it. Where the ids are made by chance, or others
//! have stored too many between them, it is asked with all of them as a table.

use uuid::Uuid;

use super::{
    super::Error,
    http::Ask,
    native::{Block, Rows},
    order,
    rows::{EVENT_ID, ids},
    shard::{Shard, none, within},
};

/// A batch has few: now, and when some of its browsers were without a network. The server looks at each of
/// them for each of its pages.
const RANGES: usize = 4;
/// A gap ends no range that is shorter than this, in milliseconds.
const GAP: u64 = 1_000;
/// Ranges that are longer than this together, in milliseconds, are those of ids by chance.
const LONGEST: u64 = 30 * 86_400_000;
/// So many questions are asked with a table after one whose ranges held too much.
const CROWDED: u32 = 50;

/// The first and the last id.
type Range = (Uuid, Uuid);

impl Shard {
    /// Which of these event_ids it has.
    pub(super) async fn known(&mut self, wanted: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        self.ask_known(wanted, false).await
    }

    /// The same of a replica that has fetched all from the others, which may take long after they were
    /// away.
    pub(super) async fn known_surely(&mut self, wanted: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        self.ask_known(wanted, true).await
    }

    async fn ask_known(&mut self, wanted: &[Uuid], surely: bool) -> Result<Vec<Uuid>, Error> {
        let mut wanted = wanted.to_vec();
        order::events(&mut wanted);
        let ranges = if self.crowded > 0 { None } else { ranges(&wanted) };
        self.crowded = self.crowded.saturating_sub(1);
        if let Some(ranges) = ranges {
            let most = 2 * wanted.len() + 10_000;
            let sql = by_ranges(&self.tables.event, &ranges, most);
            let found = self.ask_replicas(sql, Block::default(), surely).await?;
            if found.len() < most {
                let is_wanted = |id: &Uuid| wanted.binary_search(id).is_ok();
                return Ok(found.into_iter().filter(is_wanted).collect());
            }
            self.crowded = CROWDED;
        }
        self.ask_replicas(by_table(&self.tables.event), ids(&wanted), surely).await
    }

    /// Asks the replicas, one after the other until one answers.
    async fn ask_replicas(
        &mut self,
        sql: String,
        block: Block,
        surely: bool,
    ) -> Result<Vec<Uuid>, Error> {
        let mut failed = None;
        for _ in 0..self.replicas.len() {
            let ask = match block.is_empty() {
                true => Ask::long_query(&*sql),
                false => Ask::query(&*sql)
                    .with("wanted_structure", format!("event_id {EVENT_ID}"))
                    .with("wanted_format", "Native")
                    .table("wanted", &block),
            };
            let (patience, event, activity) =
                (self.patience, self.tables.event.clone(), self.tables.activity.clone());
            let replica = self.replica()?;
            let answer = within(patience, async {
                if surely && replica.talents(&activity).await?.replicated {
                    replica.must_have_all(&event).await?;
                }
                replica.link.ask(ask).await
            });
            match answer.await {
                Ok(answer) => {
                    let (mut rows, mut found) = (Rows(&answer), Vec::new());
                    while !rows.is_empty() {
                        found.push(rows.plain_uuid()?);
                    }
                    return Ok(found);
                }
                Err(error) => {
                    self.preferred = (self.preferred + 1) % self.replicas.len();
                    failed.get_or_insert(error);
                }
            }
        }
        Err(failed.unwrap_or_else(none))
    }
}

/// What lies in these ranges, as far as so many.
fn by_ranges(table: &str, ranges: &[Range], most: usize) -> String {
    let literal = |id: &Uuid| format!("unhex('{}')", id.simple());
    let between = |(first, last): &Range| {
        format!("(event_id >= {} AND event_id <= {})", literal(first), literal(last))
    };
    let ranges: Vec<String> = ranges.iter().map(between).collect();
    format!(
        "SELECT event_id FROM {table} WHERE {} LIMIT {most} FORMAT RowBinary",
        ranges.join(" OR ")
    )
}

fn by_table(table: &str) -> String {
    format!(
        "SELECT DISTINCT event_id FROM {table} WHERE event_id IN (SELECT event_id FROM wanted) \
         FORMAT RowBinary"
    )
}

/// The few ranges in which all of these lie, which are sorted; none where they were made by chance.
fn ranges(sorted: &[Uuid]) -> Option<Vec<Range>> {
    let moment = |id: Uuid| (id.as_u128() >> 80) as u64;
    let length = |(first, last): Range| moment(last).saturating_sub(moment(first));
    let gap = |pair: &[Uuid]| pair.first().zip(pair.last()).map_or(0, |(a, b)| length((*a, *b)));
    let gaps = sorted.windows(2).map(gap).zip(1..);
    let mut gaps: Vec<(u64, usize)> = gaps.filter(|(length, _)| *length > GAP).collect();
    gaps.sort_unstable_by_key(|(length, _)| std::cmp::Reverse(*length));
    gaps.truncate(RANGES - 1);
    let mut ends: Vec<usize> = gaps.into_iter().map(|(_, place)| place).collect();
    ends.push(sorted.len());
    ends.sort_unstable();
    let mut ranges: Vec<Range> = Vec::with_capacity(RANGES);
    let mut start = 0;
    for end in ends {
        let range = sorted.get(start..end)?;
        ranges.push((*range.first()?, *range.last()?));
        start = end;
    }
    (ranges.iter().copied().map(length).sum::<u64>() <= LONGEST).then_some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(moment: u128, rest: u128) -> Uuid {
        Uuid::from_u128(moment << 80 | rest)
    }

    #[test]
    fn of_one_time() {
        let now = 1_790_000_000_000;
        let mut sorted: Vec<Uuid> = (0..999).map(|it| id(now + it * 900, it * 77 % 9)).collect();
        assert_eq!(ranges(&sorted), Some(vec![(sorted[0], sorted[998])]));
        assert_eq!(ranges(&sorted[..1]), Some(vec![(sorted[0], sorted[0])]));
        assert_eq!(ranges(&[]), None);
        // Of browsers that were without a network: more than there are ranges, the longest gaps count.
        let day = 86_400_000;
        let late = [1, 2, 3, 9].map(|days| id(now - days * day, 5));
        sorted.extend(late);
        order::events(&mut sorted);
        let found = ranges(&sorted).unwrap();
        assert_eq!(found.len(), RANGES);
        assert_eq!(found[0], (late[3], late[3]));
        for id in &sorted {
            assert!(found.iter().any(|(first, last)| (first..=last).contains(&id)), "{id}");
        }
        let sql = by_ranges("t", &found[..1], 7);
        let late = late[3].simple().to_string();
        assert_eq!(
            sql,
            format!(
                "SELECT event_id FROM t WHERE (event_id >= unhex('{late}') AND event_id <= \
                 unhex('{late}')) LIMIT 7 FORMAT RowBinary"
            )
        );
    }

    #[test]
    fn by_chance() {
        let mut sorted: Vec<Uuid> = (0..100).map(|_| Uuid::new_v4()).collect();
        order::events(&mut sorted);
        assert_eq!(ranges(&sorted), None);
    }
}
