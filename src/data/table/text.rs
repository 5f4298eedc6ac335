//! Reading and writing the CSV of the tables.

use std::io::{Read, Write};

use crate::diagnostic::{Context, Failure};

/// Returns a writer whose text depends on the values alone.
pub fn writer<W: Write>(out: W) -> csv::Writer<W> {
    csv::WriterBuilder::new().flexible(true).terminator(csv::Terminator::Any(b'\n')).from_writer(out)
}

/// Writes one line.
pub fn line<W: Write>(out: &mut csv::Writer<W>, fields: &[&str]) -> Result<(), Failure> {
    out.write_record(fields).doing(|| "failed to write a table")
}

/// Ends the text.
pub fn finish<W: Write>(mut out: csv::Writer<W>) -> Result<(), Failure> {
    out.flush().doing(|| "failed to write a table")
}

/// Reads all lines with their line numbers; the first must be `header`.
pub fn lines<R: Read>(from: R, what: &str, header: &[&str]) -> Result<Vec<(u64, csv::StringRecord)>, Failure> {
    let mut lines = free_lines(from, what)?;
    match lines.first() {
        Some((_, first)) if first.iter().eq(header.iter().copied()) => {
            lines.remove(0);
            match lines.iter().find(|(_, line)| line.len() != header.len()) {
                Some((at, line)) => {
                    Err(Failure::new(format!("line {at} of the {what} has {} fields: expected {}", line.len(), header.len())))
                }
                None => Ok(lines),
            }
        }
        Some((_, first)) => Err(Failure::new(format!(
            "the {what} begins with `{}`: expected `{}`",
            first.iter().collect::<Vec<_>>().join(","),
            header.join(",")
        ))),
        None => Err(Failure::new(format!("the {what} is empty: expected at least `{}`", header.join(",")))),
    }
}

/// Reads all lines with their line numbers.
pub fn free_lines<R: Read>(from: R, what: &str) -> Result<Vec<(u64, csv::StringRecord)>, Failure> {
    let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(from);
    reader
        .into_records()
        .map(|record| {
            let record = record.doing(|| format!("failed to read the {what}"))?;
            Ok((record.position().map_or(0, csv::Position::line), record))
        })
        .collect()
}
