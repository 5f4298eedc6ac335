//! What a split yields, and the last steps all rules share.

use serde::{Deserialize, Serialize};

use crate::data::names::ImageId;
use crate::data::table::{IdList, ImageRow, ImageTable, Labels, SplitLists};
use crate::diagnostic::{Failure, count};
use crate::random::Stream;

/// The parts, counted by class, and what the user should know of them.
#[derive(Clone, Debug)]
pub struct Division {
    pub lists: SplitLists,
    pub counts: Vec<ClassCounts>,
    pub notes: Vec<String>,
}

/// How many images of a class each part has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCounts {
    pub class: String,
    pub train: usize,
    pub test: usize,
    pub validation: usize,
}

/// The number of each part: train, test, validation.
pub const TRAIN: usize = 0;
pub const TEST: usize = 1;
pub const VALIDATION: usize = 2;

/// Adds unlabelled images to train but for those that go with a test image, thins its classes, and counts.
pub fn conclude(
    mut parts: [Vec<ImageId>; 3],
    images: &ImageTable,
    labels: &Labels,
    goes_with_test: &dyn Fn(&ImageRow) -> bool,
    max_per_class: Option<(usize, u64)>,
    mut notes: Vec<String>,
) -> Result<Division, Failure> {
    if let Some((most, seed)) = max_per_class {
        let dropped = thin(&mut parts[TRAIN], labels, most, seed);
        if dropped > 0 {
            notes.push(format!("{} left out of train, which keeps at most {most} of each class", count(dropped, "image")));
        }
    }
    let unlabelled = images.rows().iter().filter(|row| labels.class_of(&row.id).is_none());
    let (left_out, unlabelled): (Vec<&ImageRow>, Vec<&ImageRow>) = unlabelled.partition(|row| goes_with_test(row));
    if !left_out.is_empty() {
        notes.push(format!("{} without a label left out, whose group is not in train", count(left_out.len(), "image")));
    }
    if !unlabelled.is_empty() {
        notes.push(format!("{} without a label put into train", count(unlabelled.len(), "image")));
        parts[TRAIN].extend(unlabelled.into_iter().map(|row| row.id.clone()));
    }
    let [train, test, validation] = parts.map(IdList::new);
    let lists = SplitLists::new(train?, test?, validation?)?;
    let counts = class_counts(&lists, labels);
    for class in &counts {
        match (class.train, class.test) {
            (0, 0) => {}
            (0, _) => notes.push(format!("class `{}` has no image in train", class.class)),
            (_, 0) => notes.push(format!("class `{}` has no image in test", class.class)),
            _ => {}
        }
    }
    Ok(Division { lists, counts, notes })
}

/// Counts every class in every part.
fn class_counts(lists: &SplitLists, labels: &Labels) -> Vec<ClassCounts> {
    let mut counts = vec![[0; 3]; labels.classes().len()];
    for (part, (_, ids)) in lists.parts().into_iter().enumerate() {
        for class in ids.iter().filter_map(|id| labels.class_of(id)) {
            counts[class][part] += 1;
        }
    }
    let named = labels.classes().iter().zip(counts);
    named.map(|(class, [train, test, validation])| ClassCounts { class: class.clone(), train, test, validation }).collect()
}

/// Keeps at most `most` images of each class, chosen by id; returns how many went.
fn thin(ids: &mut Vec<ImageId>, labels: &Labels, most: usize, seed: u64) -> usize {
    let before = ids.len();
    ids.sort_by_cached_key(|id| rank(seed, "thin", id));
    let mut kept = vec![0; labels.classes().len()];
    ids.retain(|id| {
        labels.class_of(id).is_none_or(|class| {
            kept[class] += 1;
            kept[class] <= most
        })
    });
    before - ids.len()
}

/// A place in a random order that depends on the id alone, so that a new image moves no other.
pub fn rank(seed: u64, purpose: &str, id: &ImageId) -> (u64, ImageId) {
    (Stream::new(seed, "split").of(purpose).of(id.as_str()).draws().bits(), id.clone())
}
