//! Tables that publishers ship beside their pictures: CSV with a line of column names, found by name.
//!
//! Unaware of any particular data set.

use std::path::Path;

use super::scan::Bad;
use crate::data::names::ImageId;
use crate::diagnostic::{Context, Failure, count, nearest};

/// A table in memory, with the number of each line.
pub struct Columns {
    names: Vec<String>,
    rows: Vec<(u64, csv::StringRecord)>,
}

impl Columns {
    /// Reads a table; `separator` stands between its columns.
    ///
    /// # Errors
    /// When the file cannot be read, is not UTF-8, or has lines of other lengths than its first.
    pub fn read(file: &Path, separator: u8) -> Result<Self, Failure> {
        let what = || format!("failed to read `{}`", file.display());
        let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_path(file).doing(what)?;
        let names = reader.headers().doing(what)?.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_string()).collect();
        let rows = reader.into_records().map(|record| record.map(|row| (row.position().map_or(0, csv::Position::line), row)));
        Ok(Self { names, rows: rows.collect::<Result<_, _>>().doing(what)? })
    }

    /// Returns the names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the number of the first of these columns that is there.
    pub fn find(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.names.iter().position(|column| column == name))
    }

    /// Returns the number of a column; one that is missing is an error that names those there are.
    pub fn at(&self, name: &str) -> Result<usize, Failure> {
        self.find(&[name]).ok_or_else(|| {
            let failure = Failure::new(format!("no column `{name}`: found `{}`", self.names.join("`, `")));
            match nearest(name, self.names.iter().map(String::as_str)) {
                Some(meant) => failure.help(format!("is `{meant}` that column? Then the table is of another release")),
                None => failure,
            }
        })
    }

    /// Returns each row with the number of its line; cells are found by [`cell`].
    pub fn rows(&self) -> impl Iterator<Item = (u64, &csv::StringRecord)> {
        self.rows.iter().map(|(line, row)| (*line, row))
    }
}

/// Returns a cell's text without the blanks around it.
pub fn cell(row: &csv::StringRecord, at: usize) -> &str {
    row.get(at).unwrap_or_default().trim()
}

/// Fails when lines of a table cannot be used, showing the first twenty.
pub fn refuse_lines(wrong: &[String], table: &str) -> Result<(), Failure> {
    if wrong.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = wrong.iter().take(20).map(|line| format!("  {line}")).collect();
    Err(Failure::new(format!("{} of `{table}` cannot be used:\n{}", count(wrong.len(), "line"), shown.join("\n"))))
}

/// What a table names and the folder does not hold, as bad pictures.
pub fn missing_pictures<'a>(ids: impl Iterator<Item = &'a ImageId>, folder: &Path, table: &str) -> Bad {
    ids.map(|id| (folder.join(format!("{id}.jpg")).display().to_string(), format!("`{table}` names it, and it is not there"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Columns, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Columns::read(file.path(), b';')
    }

    #[test]
    fn columns_are_found_by_any_of_their_names_behind_a_byte_order_mark() {
        let table = table("\u{feff}file-name; class\na.jpg; b \n").unwrap();
        assert_eq!((table.find(&["image", "file-name"]), table.at("class").unwrap()), (Some(0), 1));
        assert_eq!(table.rows().map(|(line, row)| (line, cell(row, 1).to_string())).collect::<Vec<_>>(), [(2, "b".to_string())]);
    }

    #[test]
    fn a_missing_column_and_a_broken_line_are_errors() {
        let failure = table("imagee;x\n").unwrap().at("image").unwrap_err();
        assert_eq!(failure.message(), "no column `image`: found `imagee`, `x`");
        assert_eq!(failure.way_out(), Some("is `imagee` that column? Then the table is of another release"));
        assert!(table("a;b\n1\n").is_err());
    }
}
