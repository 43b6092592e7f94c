//! SQLite: many rows a statement. Knows no table.

use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, Statement, ToSql};

use super::link::Failure;
use crate::store::moment::Printed;

/// So many rows a statement: what a statement costs by itself is half of what a row costs.
const ROWS: usize = 32;

/// How rows go into a table.
pub(super) struct Insert {
    one: String,
    many: String,
}

impl Insert {
    /// Into a table with its `columns`, with a clause for rows that are there.
    ///
    /// `OR FAIL`, as the caller rolls everything back with the first failure anyway: that, and no
    /// CHECK to evaluate, spares the journal that SQLite otherwise keeps of a statement with many
    /// rows. It costs more than they spare.
    pub(super) fn new(table: &str, columns: &[&str], conflict: &str) -> Self {
        let row = format!("({})", vec!["?"; columns.len()].join(", "));
        let statement = |rows| {
            let (columns, rows) = (columns.join(", "), vec![row.as_str(); rows].join(", "));
            format!("INSERT OR FAIL INTO {table} ({columns}) VALUES {rows} ON CONFLICT {conflict}")
        };
        Self { one: statement(1), many: statement(ROWS) }
    }

    /// Inserts all, each as `bind` says, within the caller's transaction. Returns how many rows
    /// SQLite counts as changed.
    pub(super) fn all<T>(
        &self,
        connection: &Connection,
        rows: &[T],
        mut bind: impl FnMut(&mut Values<'_, '_>, &T) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let mut changed = 0;
        let (many, rest) = rows.as_chunks::<ROWS>();
        for (sql, chunks) in [
            (&self.many, many.iter().map(<[T; ROWS]>::as_slice).collect::<Vec<_>>()),
            (&self.one, rest.iter().map(std::slice::from_ref).collect()),
        ] {
            if chunks.is_empty() {
                continue;
            }
            let mut statement = connection.prepare_cached(sql)?;
            for chunk in chunks {
                let mut values = Values { statement: &mut statement, bound: 0 };
                chunk.iter().try_for_each(|row| bind(&mut values, row))?;
                changed += statement.raw_execute()? as u64;
            }
        }
        Ok(changed)
    }
}

/// The parameters of a statement, bound one after the other.
pub(super) struct Values<'a, 'c> {
    statement: &'a mut Statement<'c>,
    bound: usize,
}

impl Values<'_, '_> {
    /// Binds the next one.
    pub(super) fn bind(&mut self, value: impl ToSql) -> Result<(), Failure> {
        self.bound += 1;
        Ok(self.statement.raw_bind_parameter(self.bound, value)?)
    }
}

impl ToSql for Printed {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}
