//! A split that never divides a group (patient, lesion, slide) and keeps every class as nearly in proportion as that allows.
//!
//! Greedy: groups that weigh most come first, and each goes to the part that is then furthest from what it still lacks.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::outcome::{Division, TEST, TRAIN, VALIDATION, conclude};
use crate::data::groups::Groups;
use crate::data::names::ImageId;
use crate::data::prints::Alike;
use crate::data::table::{ImageRow, ImageTable, Labels};
use crate::diagnostic::{Failure, count};
use crate::random::Stream;

crate::params! {
    /// A stratified split by group. An image without a group is a group of its own.
    pub struct GroupedStratified {
        /// The share of the labelled images that tests.
        pub test: f64 = 0.3,
        /// The share of the labelled images that validates.
        pub validation: f64 = 0.0,
        /// Train keeps at most so many images of each class.
        pub max_per_class: Option<usize> = None,
        /// Accepts files with the same bytes in two parts.
        pub allow_copies: bool = false,
    }
}

/// A group: its images, and how many there are of each class.
struct Group<'a> {
    name: String,
    ids: Vec<&'a ImageId>,
    /// Class and count, of the classes that occur.
    counts: Vec<(usize, usize)>,
}

impl GroupedStratified {
    pub(super) fn divide(&self, images: &ImageTable, labels: &Labels, seed: u64, alike: Option<&Alike>) -> Result<Division, Failure> {
        let tied = alike.map(|alike| tied(images, alike));
        let (mut groups, n_alone) = groups(images, labels, tied.as_ref());
        if n_alone == images.len() && !images.is_empty() && alike.is_none() {
            return Err(Failure::new("no image has a group").help("split with `Stratified`, or ingest the images with a group column"));
        }
        let mut sizes = vec![0; labels.classes().len()];
        groups.iter().flat_map(|g| &g.counts).for_each(|(class, n)| sizes[*class] += n);
        let shares = [1.0 - self.test - self.validation, self.test, self.validation];

        // The weight is a sum of shares of classes, so that a handful of images of a rare class counts as much as
        // hundreds of a common one. Weights are compared by powers of two, and chance orders what is alike.
        let weight = |g: &Group| g.counts.iter().map(|(class, n)| *n as f64 / sizes[*class] as f64).sum::<f64>();
        groups.sort_by_cached_key(|g| {
            let chance = Stream::new(seed, "split").of("group").of(&g.name).draws().bits();
            (std::cmp::Reverse(weight(g).log2().floor() as i64 + 1_000), chance, g.name.clone())
        });
        let mut have = vec![[0.0; 3]; sizes.len()];
        let mut parts: [Vec<ImageId>; 3] = Default::default();
        for group in &groups {
            let part = best_part(group, &have, &sizes, &shares);
            group.counts.iter().for_each(|(class, n)| have[*class][part] += *n as f64);
            parts[part].extend(group.ids.iter().map(|id| (*id).clone()));
        }

        let mut notes = Vec::new();
        let mut of_class: Vec<usize> = vec![0; sizes.len()];
        groups.iter().flat_map(|g| &g.counts).for_each(|(class, _)| of_class[*class] += 1);
        for (class, name) in labels.classes().iter().enumerate().filter(|(class, _)| of_class[*class] == 1) {
            notes.push(format!("class `{name}` lies in a single group: all its {} in one part", count(sizes[class], "image")));
        }
        if n_alone > 0 {
            notes.push(format!("{} without a group, each taken as a group of its own", count(n_alone, "image")));
        }
        notes.push(reached(&have, &sizes, &shares, groups.len()));
        let group = |row: &ImageRow| tied.as_ref().and_then(|tied| tied.name(&row.id)).or_else(|| row.group.clone());
        let row = |id: &ImageId| images.position(id).map(|row| &images.rows()[row]);
        let elsewhere: HashSet<String> = parts[TEST].iter().chain(&parts[VALIDATION]).filter_map(|id| group(row(id)?)).collect();
        let goes_with_test = |row: &ImageRow| group(row).is_some_and(|group| elsewhere.contains(&group));
        conclude(parts, images, labels, &goes_with_test, self.max_per_class.map(|most| (most, seed)), notes)
    }
}

/// What is collected of a group.
#[derive(Default)]
struct Members<'a> {
    ids: Vec<&'a ImageId>,
    counts: BTreeMap<usize, usize>,
}

/// The groups of images where pictures that are alike belong together too: an image is of no other group than its own at least.
fn tied(images: &ImageTable, alike: &Alike) -> Groups {
    let own = |row: &ImageRow| row.group.clone().unwrap_or_else(|| format!("alone:{}", row.id));
    let mut tied = Groups::new(images.rows().iter().map(|row| (row.id.clone(), own(row))).collect());
    let mut first: HashMap<usize, &ImageId> = HashMap::new();
    for row in images.rows() {
        let Some(number) = alike.of(row) else { continue };
        tied.join(first.entry(number).or_insert(&row.id), &row.id);
    }
    tied
}

/// Collects the labelled images by group; also returns how many have none.
fn groups<'a>(images: &'a ImageTable, labels: &Labels, tied: Option<&Groups>) -> (Vec<Group<'a>>, usize) {
    let mut by_name: BTreeMap<(bool, String), Members> = BTreeMap::new();
    let mut n_alone = 0;
    for row in images.rows() {
        let Some(class) = labels.class_of(&row.id) else { continue };
        // The flag keeps a group apart from an image that has its name.
        let name = match tied.and_then(|tied| tied.name(&row.id)).or_else(|| row.group.clone()) {
            Some(group) => (true, group),
            None => {
                n_alone += 1;
                (false, row.id.to_string())
            }
        };
        let members = by_name.entry(name).or_default();
        members.ids.push(&row.id);
        *members.counts.entry(class).or_default() += 1;
    }
    let groups =
        by_name.into_iter().map(|((_, name), members)| Group { name, ids: members.ids, counts: members.counts.into_iter().collect() });
    (groups.collect(), n_alone)
}

/// The part for which the squared distance from the wanted shares, summed over classes and parts, is then least.
fn best_part(group: &Group, have: &[[f64; 3]], sizes: &[usize], shares: &[f64; 3]) -> usize {
    let cost = |part: usize| -> f64 {
        group
            .counts
            .iter()
            .map(|(class, n)| {
                let size = sizes[*class] as f64;
                let off = have[*class][part] / size - shares[part];
                // What changes in the sum when this group joins `part`, over the share wanted there:
                // a part that should be small is full sooner.
                let n = *n as f64 / size;
                ((off + n).powi(2) - off.powi(2)) / shares[part]
            })
            .sum()
    };
    [TRAIN, TEST, VALIDATION].into_iter().filter(|p| shares[*p] > 0.0).min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(TRAIN)
}

/// A line that says which shares were reached.
fn reached(have: &[[f64; 3]], sizes: &[usize], shares: &[f64; 3], n_groups: usize) -> String {
    let total: usize = sizes.iter().sum();
    let worst = (0..sizes.len())
        .filter(|class| sizes[*class] > 0)
        .map(|class| ((have[class][TEST] / sizes[class] as f64 - shares[TEST]).abs(), class))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let test: f64 = have.iter().map(|h| h[TEST]).sum::<f64>() / total.max(1) as f64;
    let furthest = worst
        .map_or(String::new(), |(_, class)| format!("; furthest is class {} with {:.3}", class, have[class][TEST] / sizes[class] as f64));
    format!("{}: test reached a share of {test:.3}, wanted {:.3}{furthest}", count(n_groups, "group"), shares[TEST])
}
