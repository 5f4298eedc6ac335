//! Pools of images for training without labels: joined, each picture once, and without test images.
//!
//! A test image that was trained on, even without its label, proves less than it seems to. A pool is therefore held against every test
//! set by name, by the bytes of files, by look where fingerprints are given, and by group; what is found is refused, or left out where that is wished for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use super::names::undecorated;
use super::prints::Alike;
use super::split::{Join, Protocol};
use super::table::{ImageRow, ImageTable, Place, PoolWeights};
use crate::diagnostic::{Failure, count, thousands};
use crate::digest::Digest;

/// One of the pools to join.
pub struct Pool<'a> {
    pub images: ImageTable,
    /// Only the images that this list names are taken.
    pub list: Option<&'a Path>,
    /// How often each comes in an epoch.
    pub weight: f64,
}

/// What joining may do.
#[derive(Clone, Debug, Default)]
pub struct PoolRules {
    /// Which pictures are copies or look alike, where that is known: of the pools and of the test images.
    pub alike: Option<Alike>,
    /// Leaves test images out of the pools instead of refusing them.
    pub leave_out_test: bool,
    /// Goes on without images that a list names and that are not there.
    pub allow_missing: bool,
    /// `Paper` accepts images whose group tests too.
    pub protocol: Protocol,
}

/// Pools put together.
#[derive(Debug)]
pub struct Joined {
    pub images: ImageTable,
    pub weights: PoolWeights,
    pub notes: Vec<String>,
}

/// Why an image counts as a test image, the surest reason first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tie {
    Name,
    Bytes,
    Look,
    Group,
}

impl Tie {
    fn words(self) -> &'static str {
        match self {
            Self::Name => "by name",
            Self::Bytes => "by their bytes",
            Self::Look => "by their look",
            Self::Group => "by group",
        }
    }
}

/// Test images, found by what may tie an image to them.
#[derive(Default)]
struct Tests<'a> {
    names: HashMap<&'a str, &'a ImageRow>,
    files: HashMap<(Digest, Place), &'a ImageRow>,
    looks: HashMap<usize, &'a ImageRow>,
    groups: HashMap<&'a str, &'a ImageRow>,
}

impl<'a> Tests<'a> {
    fn of(tests: &'a [ImageTable], alike: Option<&Alike>) -> Self {
        let mut all = Self::default();
        for row in tests.iter().flat_map(ImageTable::rows) {
            all.names.entry(undecorated(row.id.as_str())).or_insert(row);
            all.files.entry((row.file, row.place)).or_insert(row);
            if let Some(number) = alike.and_then(|alike| alike.of(row)) {
                all.looks.entry(number).or_insert(row);
            }
            if let Some(group) = &row.group {
                all.groups.entry(group).or_insert(row);
            }
        }
        all
    }

    /// The test image that this one is, or that it goes with.
    fn tie(&self, row: &ImageRow, alike: Option<&Alike>) -> Option<(Tie, &'a ImageRow)> {
        let name = self.names.get(undecorated(row.id.as_str())).map(|test| (Tie::Name, *test));
        let bytes = || self.files.get(&(row.file, row.place)).map(|test| (Tie::Bytes, *test));
        let group = || self.groups.get(row.group.as_deref()?).map(|test| (Tie::Group, *test));
        let look = || self.looks.get(&alike?.of(row)?).map(|test| (Tie::Look, *test));
        name.or_else(bytes).or_else(look).or_else(group)
    }
}

/// Puts pools together, the earlier first: a picture that comes again is left out.
///
/// # Errors
/// When a pool holds test images, a list names images that are not there, nothing is left of a pool, or two different pictures have one id.
pub fn join_pools(pools: Vec<Pool>, tests: &[ImageTable], rules: &PoolRules) -> Result<Joined, Failure> {
    let alike = rules.alike.as_ref();
    let known = Tests::of(tests, alike);
    let (mut notes, mut refused) = (Vec::new(), Vec::new());
    let (mut rows, mut weights, mut seen, mut pixels) = (Vec::new(), BTreeMap::new(), HashSet::new(), HashSet::new());
    for (number, pool) in pools.into_iter().enumerate() {
        let name = format!("pool {}", number + 1);
        let named = named(&pool, rules, &mut notes).map_err(|failure| failure.while_doing(&name))?;
        let mut tied: BTreeMap<Tie, Vec<(&ImageRow, &ImageRow)>> = BTreeMap::new();
        let (mut kept, mut again) = (Vec::new(), 0);
        for row in named.rows() {
            if let Some((tie, test)) = known.tie(row, alike) {
                tied.entry(tie).or_default().push((row, test));
                if tie != Tie::Group || rules.protocol == Protocol::Strict {
                    continue;
                }
            }
            // Pictures that only look alike stay: neighbouring frames of a film teach something too.
            let copy = alike.and_then(|alike| alike.same_pixels(row)).is_some_and(|number| !pixels.insert(number));
            match seen.insert((row.file, row.place)) && !copy {
                true => kept.push(row.clone()),
                false => again += 1,
            }
        }
        if rules.protocol == Protocol::Paper
            && let Some(shared) = tied.remove(&Tie::Group)
        {
            notes.push(format!("protocol `Paper`: {name} holds {} whose group tests too", count(shared.len(), "image")));
        }
        if let Some(line) = said(&name, &tied) {
            match rules.leave_out_test {
                true => notes.push(format!("{line}; left out")),
                false => refused.push(line),
            }
        }
        if again > 0 {
            notes.push(format!("{name}: {} left out that came before", count(again, "image")));
        }
        if kept.is_empty() && refused.is_empty() {
            return Err(Failure::new(format!("{name} has no image left")));
        }
        let times = if pool.weight == 1.0 { String::new() } else { format!(", each {} times in an epoch", pool.weight) };
        notes.push(format!("{name}: {}{times}", count(kept.len(), "image")));
        weights.extend(kept.iter().map(|row| (row.id.clone(), pool.weight)));
        rows.extend(kept);
    }
    if !refused.is_empty() {
        return Err(Failure::new(refused.join("\n")).help("leave them out of the pool with `leave_out_test: true`"));
    }
    if tests.is_empty() {
        notes.push("held against no test images".to_string());
    }
    let images = ImageTable::new(rows).map_err(|failure| failure.while_doing("different pictures in the pools"))?;
    Ok(Joined { images, weights: PoolWeights::new(weights)?, notes })
}

/// The images of a pool that its list names; all where it has none.
fn named(pool: &Pool, rules: &PoolRules, notes: &mut Vec<String>) -> Result<ImageTable, Failure> {
    let Some(list) = pool.list else { return Ok(pool.images.clone()) };
    let listed = Join::of(&pool.images).read(list).map_err(|failure| failure.while_doing(format!("list `{}`", list.display())))?;
    if let Some(missing) = listed.missing() {
        if !rules.allow_missing {
            return Err(Failure::new(missing).help("read the images that the list names, or go on without them with `allow_missing: true`"));
        }
        notes.push(format!("{missing}; left out"));
    }
    let chosen: HashSet<_> = listed.ids.into_iter().collect();
    ImageTable::new(pool.images.rows().iter().filter(|row| chosen.contains(&row.id)).cloned().collect())
}

/// "pool 2 holds 10 test images (3 by name, 7 by their bytes): `a` is `b` first"; nothing where it holds none.
fn said(name: &str, tied: &BTreeMap<Tie, Vec<(&ImageRow, &ImageRow)>>) -> Option<String> {
    let (row, test) = *tied.values().next()?.first()?;
    let how: Vec<String> = tied.iter().map(|(tie, pairs)| format!("{} {}", thousands(pairs.len()), tie.words())).collect();
    let n = tied.values().map(Vec::len).sum();
    Some(format!("{name} holds {} ({}): `{}` goes with `{}` first", count(n, "test image"), how.join(", "), row.id, test.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Print, Prints};

    fn table(rows: &[(&str, &str, Option<&str>)]) -> ImageTable {
        let row = |(id, bytes, group): &(&str, &str, Option<&str>)| ImageRow {
            id: (*id).into(),
            path: format!("{id}.jpg"),
            file: Digest::of(bytes.as_bytes()),
            place: Place::Whole,
            width: 8,
            height: 8,
            group: group.map(str::to_string),
        };
        ImageTable::new(rows.iter().map(row).collect()).unwrap()
    }

    fn pool(rows: &[(&str, &str, Option<&str>)], weight: f64) -> Pool<'static> {
        Pool { images: table(rows), list: None, weight }
    }

    fn ids(joined: &Joined) -> Vec<&str> {
        joined.images.rows().iter().map(|row| row.id.as_str()).collect()
    }

    const TRAIN: [(&str, &str, Option<&str>); 2] = [("a", "A", Some("P1")), ("b", "B", None)];

    #[test]
    fn pools_are_joined_with_weights_and_every_picture_once() {
        let more = [("c", "C", None), ("d", "A", None), ("e", "C", None)];
        let joined =
            join_pools(vec![pool(&TRAIN, 1.0), pool(&more, 0.5)], &[table(&[("t", "T", Some("P9"))])], &PoolRules::default()).unwrap();
        assert_eq!(ids(&joined), ["a", "b", "c"]);
        assert_eq!(joined.weights.of(&joined.images).unwrap(), [1.0, 1.0, 0.5]);
        let said = ["pool 1: 2 images", "pool 2: 2 images left out that came before", "pool 2: 1 image, each 0.5 times in an epoch"];
        assert_eq!(joined.notes, said);
    }

    #[test]
    fn a_pool_that_holds_test_images_is_refused_or_does_without_them() {
        let tests = [table(&[("t1_downsampled", "T1", None), ("t2", "T2", Some("P2"))]), table(&[("t3", "T3", None)])];
        let more = [("t1", "smaller", None), ("x", "T3", None), ("y", "Y", Some("P2")), ("z", "Z", None)];
        let join = |rules| join_pools(vec![pool(&TRAIN, 1.0), pool(&more, 1.0)], &tests, &rules);
        let failure = join(PoolRules::default()).unwrap_err();
        let line = "pool 2 holds 3 test images (1 by name, 1 by their bytes, 1 by group): `t1` goes with `t1_downsampled` first";
        assert_eq!(failure.message(), line);
        assert_eq!(failure.way_out(), Some("leave them out of the pool with `leave_out_test: true`"));
        let without = join(PoolRules { leave_out_test: true, ..PoolRules::default() }).unwrap();
        assert_eq!(ids(&without), ["a", "b", "z"]);
        assert_eq!(without.notes[1], format!("{line}; left out"));
        let paper = join(PoolRules { leave_out_test: true, protocol: Protocol::Paper, ..PoolRules::default() }).unwrap();
        assert_eq!(ids(&paper), ["a", "b", "y", "z"]);
        assert_eq!(paper.notes[1], "protocol `Paper`: pool 2 holds 1 image whose group tests too");
    }

    #[test]
    fn copies_with_other_bytes_are_found_by_their_fingerprints() {
        let more = [("c", "C", None), ("d", "D", None), ("e", "E", None), ("f", "F", None)];
        let (train, pool_2, test) = (table(&TRAIN), table(&more), table(&[("t", "T", None)]));
        // `c` has the pixels of `a`; `d` looks like `c`; `e` nearly looks like the test image.
        let looks =
            [("a", "1", 0), ("b", "2", 0xff), ("c", "1", 0), ("d", "3", 1), ("e", "4", 0xff01), ("f", "5", 0xff_0000), ("t", "6", 0xff00)];
        let all: Vec<ImageRow> = [&train, &pool_2, &test].iter().flat_map(|table| table.rows().to_vec()).collect();
        let print = |row: &ImageRow| {
            let (_, pixels, look) = looks.iter().find(|(id, ..)| *id == row.id.as_str()).unwrap();
            Print { pixels: Digest::of(pixels.as_bytes()), look: [*look, 0, 0, 0] }
        };
        let prints = Prints::new(all.iter().map(|row| (row, print(row))));
        let join = |near, leave_out_test| {
            let rules = PoolRules { alike: Some(prints.alike(&all, near).unwrap()), leave_out_test, ..PoolRules::default() };
            join_pools(vec![pool(&TRAIN, 1.0), pool(&more, 1.0)], &[table(&[("t", "T", None)])], &rules)
        };
        assert_eq!(ids(&join(None, false).unwrap()), ["a", "b", "d", "e", "f"]);
        assert!(
            join(Some(2), false).unwrap_err().message().contains("pool 2 holds 1 test image (1 by their look): `e` goes with `t` first")
        );
        assert_eq!(ids(&join(Some(2), true).unwrap()), ["a", "b", "d", "f"]);
    }

    #[test]
    fn a_list_chooses_and_what_it_names_in_vain_is_refused_or_noted() {
        let list = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(list.path(), ",image\n0,train/b.dcm\n1,test/q.dcm\n").unwrap();
        let join = |rules| join_pools(vec![Pool { list: Some(list.path()), ..pool(&TRAIN, 1.0) }], &[], &rules);
        let failure = join(PoolRules::default()).unwrap_err();
        let line = "1 of 2 listed images not found among the images, `test/q.dcm` (unknown) first";
        assert_eq!(failure.message(), format!("pool 1: {line}"));
        let joined = join(PoolRules { allow_missing: true, ..PoolRules::default() }).unwrap();
        assert_eq!(ids(&joined), ["b"]);
        assert_eq!(joined.notes, [format!("{line}; left out"), "pool 1: 1 image".to_string(), "held against no test images".to_string()]);
    }

    #[test]
    fn two_pictures_of_one_name_and_a_pool_of_nothing_are_refused() {
        let failure = join_pools(vec![pool(&TRAIN, 1.0), pool(&[("a", "other", None)], 1.0)], &[], &PoolRules::default()).unwrap_err();
        assert_eq!(failure.message(), "different pictures in the pools: 1 image id used twice, `a` first");
        let failure = join_pools(vec![pool(&TRAIN, 1.0), pool(&[("c", "A", None)], 1.0)], &[], &PoolRules::default()).unwrap_err();
        assert_eq!(failure.message(), "pool 2 has no image left");
    }
}
