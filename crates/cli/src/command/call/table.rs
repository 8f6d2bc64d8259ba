//! Columns of text, as `docker buildx` aligns them: all but the last are as wide as their widest cell and a gap.

use std::fmt;

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    gap: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with no rows yet and this many blanks between its columns.
    pub(super) fn new(gap: usize) -> Self {
        Self { gap, rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|cell| crate::failure::clean(cell)).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0) + self.gap
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                match column + 1 == row.len() {
                    true => writeln!(f, "{cell}")?,
                    false => write!(f, "{cell:0$}", widths[column])?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(3);
        table.row(&["BUILD ARG", "VALUE", "DESCRIPTION"]);
        table.row(&["a", "", "x y"]);
        assert_eq!(table.to_string(), "BUILD ARG   VALUE   DESCRIPTION\na                   x y\n");
    }
}
