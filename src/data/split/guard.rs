//! What a split may not do: a test image that was trained on, or that is nearly one, proves nothing.
//!
//! Looked for in two parts: files with the same bytes, pictures with the same pixels, pictures that look alike, and images of one group
//! (patient, lesion, slide). All that is found is told at once, with counts, an example and the way out.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::outcome::Division;
use crate::data::names::ImageId;
use crate::data::prints::Alike;
use crate::data::table::{ImageRow, ImageTable, Labels, Place};
use crate::diagnostic::{Failure, count, thousands};

/// Whether groups may be divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Images of one patient, lesion or slide lie in one part, or the split is refused.
    #[default]
    Strict,
    /// As arXiv:2304.05163 has it: by image, whatever belongs together; what lies in two parts is counted and reported.
    Paper,
}

/// How a split is looked at.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Which pictures are copies or look alike, where that is known.
    pub alike: Option<Alike>,
    pub protocol: Protocol,
    /// Test images that every class needs: with one image, its recall is 0 or 1 by chance.
    pub min_test: usize,
}

impl Default for Guard {
    fn default() -> Self {
        Self { alike: None, protocol: Protocol::Strict, min_test: 2 }
    }
}

/// What is wrong, and how to do without it.
struct Leak {
    what: String,
    help: String,
}

impl Guard {
    /// Looks at the parts; what is allowed becomes a note.
    ///
    /// # Errors
    /// When copies or groups lie in two parts and may not, or a class has too few test images.
    pub(super) fn look(&self, division: &mut Division, images: &ImageTable, labels: &Labels, allow_copies: bool) -> Result<(), Failure> {
        let mut leaks = Vec::new();
        let parts = parts(division, images);
        let mut allowed = Vec::new();
        let mut tell = |leak: Leak, may: bool| if may { allowed.push(leak.what) } else { leaks.push(leak) };
        // Rows of one packed array have the same file.
        let bytes = in_two_parts(&parts, |row| (!matches!(row.place, Place::Row(_))).then_some((row.file, row.place)));
        if let Some(leak) = copies(&bytes, "with the same bytes as an image of another part") {
            tell(leak, allow_copies);
        }
        if let Some(alike) = &self.alike {
            // Copies of a file are told already.
            let told: HashSet<&ImageId> = bytes.iter().map(|(_, row)| &row.id).collect();
            let pairs = in_two_parts(&parts, |row| alike.of(row)).into_iter().filter(|(_, row)| !told.contains(&row.id));
            if let Some(leak) = copies(&pairs.collect::<Vec<_>>(), &format!("{} an image of another part", alike.words())) {
                tell(leak, allow_copies);
            }
        }
        if let Some(leak) = self.groups(&parts) {
            tell(leak, self.protocol == Protocol::Paper);
        }
        leaks.extend(self.small_classes(division, labels));
        division.notes.splice(0..0, allowed);
        refuse(leaks)
    }

    fn groups(&self, parts: &[Vec<&ImageRow>; 3]) -> Option<Leak> {
        let shared = in_two_parts(parts, |row| row.group.as_deref());
        let (first, second) = *shared.first()?;
        let name = |row: &ImageRow| row.group.clone().unwrap_or_default();
        let groups: BTreeSet<String> = shared.iter().map(|(_, row)| name(row)).collect();
        let (group, n) = (name(first), count(shared.len(), "image"));
        let what = match self.protocol {
            Protocol::Strict => format!(
                "{} in two parts, with {n} whose group is in another part already: `{group}` with `{}` and `{}` first",
                count(groups.len(), "group"),
                first.id,
                second.id
            ),
            Protocol::Paper => format!(
                "protocol `Paper`: divided by image though groups are known; {} in two parts, {n} whose group is in another part already, `{}` and `{}` of `{group}` first",
                count(groups.len(), "group"),
                first.id,
                second.id
            ),
        };
        let help = "split with `GroupedStratified`, or divide by image as the paper does with `protocol: Paper`, and the report says so";
        Some(Leak { what, help: help.to_string() })
    }

    fn small_classes(&self, division: &Division, labels: &Labels) -> Option<Leak> {
        let known = labels.counts();
        let small = division.counts.iter().zip(known).filter(|(class, known)| *known > 0 && class.test < self.min_test);
        let named: Vec<String> = small.map(|(class, _)| format!("`{}` ({})", class.class, class.test)).collect();
        (!named.is_empty()).then(|| Leak {
            what: format!("{} with fewer than {} test images: {}", count(named.len(), "class"), self.min_test, named.join(", ")),
            help: format!("leave them out, add images, or accept them with `min_test: {}`", self.min_test.min(1)),
        })
    }
}

/// The images of each part.
fn parts<'a>(division: &Division, images: &'a ImageTable) -> [Vec<&'a ImageRow>; 3] {
    division.lists.parts().map(|(_, ids)| ids.iter().filter_map(|id| images.position(id)).map(|row| &images.rows()[row]).collect())
}

/// Finds images whose key lies in another part already: the first image with that key, and this one.
fn in_two_parts<'a, K: Hash + Eq>(
    parts: &[Vec<&'a ImageRow>; 3],
    key: impl Fn(&'a ImageRow) -> Option<K>,
) -> Vec<(&'a ImageRow, &'a ImageRow)> {
    let mut seen: HashMap<K, (usize, &ImageRow)> = HashMap::new();
    let mut shared = Vec::new();
    for (part, rows) in parts.iter().enumerate() {
        for row in rows {
            let Some(key) = key(row) else { continue };
            match seen.get(&key) {
                Some((other, first)) if *other != part => shared.push((*first, *row)),
                Some(_) => {}
                None => drop(seen.insert(key, (part, row))),
            }
        }
    }
    shared
}

fn copies(pairs: &[(&ImageRow, &ImageRow)], how: &str) -> Option<Leak> {
    let (first, second): (&ImageId, &ImageId) = pairs.first().map(|(a, b)| (&a.id, &b.id))?;
    let help = "remove the copies, give them one group and split with `GroupedStratified`, or set `allow_copies: true`";
    Some(Leak { what: format!("{} {how}: `{first}` and `{second}` first", count(pairs.len(), "image")), help: help.to_string() })
}

fn refuse(leaks: Vec<Leak>) -> Result<(), Failure> {
    let help = leaks.iter().map(|leak| leak.help.as_str()).collect::<Vec<_>>().join("\n");
    match &leaks[..] {
        [] => Ok(()),
        [one] => Err(Failure::new(&one.what).help(help)),
        several => {
            let lines: Vec<String> = several.iter().map(|leak| format!("  {}", leak.what)).collect();
            Err(Failure::new(format!("{} reasons to refuse this split:\n{}", thousands(several.len()), lines.join("\n"))).help(help))
        }
    }
}
