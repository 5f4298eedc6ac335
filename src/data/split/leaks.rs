//! Copies of one picture in two parts: a test image that was trained on proves nothing.

use std::collections::HashMap;

use super::outcome::TRAIN;
use crate::data::names::ImageId;
use crate::data::table::{ImageTable, Place};
use crate::diagnostic::{Failure, count};
use crate::digest::Digest;

/// Finds files with the same bytes in two parts. Rows of packed arrays are not compared.
///
/// # Errors
/// When there are any and they are not allowed; allowed ones become a note.
pub fn check_copies(parts: &[Vec<ImageId>; 3], images: &ImageTable, allow: bool, notes: &mut Vec<String>) -> Result<(), Failure> {
    let mut seen: HashMap<(Digest, Place), (usize, &ImageId)> = HashMap::new();
    let mut copies: Vec<(&ImageId, &ImageId)> = Vec::new();
    for (part, ids) in parts.iter().enumerate().skip(TRAIN) {
        for id in ids {
            let Some(row) = images.position(id).map(|row| &images.rows()[row]) else { continue };
            if matches!(row.place, Place::Row(_)) {
                continue;
            }
            match seen.get(&(row.file, row.place)) {
                Some((other, first)) if *other != part => copies.push((first, id)),
                Some(_) => {}
                None => drop(seen.insert((row.file, row.place), (part, id))),
            }
        }
    }
    let Some((first, second)) = copies.first() else { return Ok(()) };
    let many = count(copies.len(), "image");
    let line = format!("{many} with the same bytes as an image of another part: `{first}` and `{second}` first");
    if allow {
        notes.push(line);
        return Ok(());
    }
    Err(Failure::new(line).help("remove the copies, give them one group and split with `GroupedStratified`, or set `allow_copies: true`"))
}
