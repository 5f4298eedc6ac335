//! Features, labels and split joined into numbered rows and classes: what a sweep works on.
//!
//! The draws of labelled rows belong to the study, so that every method sees the same rows in the same repeat.

use std::collections::{BTreeMap, HashMap, HashSet};

use ndarray::{ArcArray2, Array2, ArrayView2};

use super::features::Features;
use super::groups::ClassRows;
use super::params::{Evaluate, Protocol, Validation, refuse};
use crate::diagnostic::{Failure, count};
use crate::digest::Digest;
use crate::random::Stream;

/// Who takes part: classes, training rows and rows to predict, by id. Unaware of features.
#[derive(Clone, Debug, PartialEq)]
pub struct Roster {
    /// Class names, sorted; a class is its place here.
    pub classes: Vec<String>,
    /// Ids of the training rows, sorted within each class: `train[class]`.
    pub train: Vec<Vec<String>>,
    /// Ids and classes of the rows to predict, in the split's order.
    pub test: Vec<(String, usize)>,
    /// The group (patient, picture) of each row to predict, as a number; empty where every row stands by itself.
    pub groups: Vec<usize>,
    pub(crate) seed: u64,
}

/// A few-label study, ready to be swept.
#[derive(Clone, Debug)]
pub struct Study {
    pub roster: Roster,
    pub protocol: Protocol,
    /// Features of the training rows, class after class as in the roster.
    pub(crate) train: ArcArray2<f32>,
    /// Number of the first training row of each class, and the total.
    pub(crate) starts: Vec<usize>,
    /// Features of the rows to predict.
    pub(crate) test: Array2<f32>,
}

impl Roster {
    /// Joins labels and split under the protocol: renames, drops, holds out, and keeps the classes that are large enough.
    ///
    /// # Errors
    /// When the protocol has mistakes, a row has no label, an id is in both parts or twice in one, or nothing is left to learn or to predict.
    pub fn new(labels: &BTreeMap<String, String>, train: &[String], test: &[String], how: &Protocol, seed: u64) -> Result<Self, Failure> {
        refuse("few-label study", &how.check())?;
        let mut seen = HashSet::new();
        for (part, ids) in [("training", train), ("test", test)] {
            if let Some(id) = ids.iter().find(|id| !seen.insert(id.as_str())) {
                return Err(Failure::new(format!("`{id}` comes a second time, among the {part} rows")));
            }
        }
        let class_of = |id: &String| -> Result<Option<&str>, Failure> {
            let label = labels.get(id).ok_or_else(|| Failure::new(format!("`{id}` is in the split but has no label")))?;
            let label = how.rename.get(label).unwrap_or(label);
            Ok((!how.drop.contains(label)).then_some(label.as_str()))
        };
        let known: HashSet<&str> = labels.values().map(String::as_str).collect();
        if let Some(name) = how.rename.keys().find(|name| !known.contains(name.as_str())) {
            return Err(Failure::new(format!("`rename` names the class `{name}`, which no row has")));
        }
        if let Some(name) = how.drop.iter().find(|name| !known.contains(name.as_str()) && !how.rename.values().any(|v| v == *name)) {
            return Err(Failure::new(format!("`drop` names the class `{name}`, which no row has")));
        }
        let mut groups = BTreeMap::<&str, Vec<String>>::new();
        for id in train {
            if let Some(class) = class_of(id)? {
                groups.entry(class).or_default().push(id.clone());
            }
        }
        let mut to_predict: Vec<(String, &str)> = Vec::new();
        // While choosing between recipes even the labels of the test rows stay unread.
        let looked_at = if how.evaluate == Evaluate::Test { test } else { &[] };
        for id in looked_at {
            if let Some(class) = class_of(id)? {
                to_predict.push((id.clone(), class));
            }
        }
        // Sorted, so that a draw depends on who takes part and not on the order of a file.
        groups.values_mut().for_each(|ids| ids.sort_unstable());
        if let Evaluate::Validation(Validation { share }) = how.evaluate {
            to_predict = hold_out(&mut groups, share, seed);
        }
        groups.retain(|_, ids| ids.len() >= how.min_class_size.max(1));
        // With a least size the predicted rows are restricted too; without one, a class that cannot be learnt still counts as missed.
        let mut names: Vec<&str> = groups.keys().copied().collect();
        if how.min_class_size == 0 {
            names.extend(to_predict.iter().map(|(_, class)| *class));
            names.sort_unstable();
            names.dedup();
        }
        to_predict.retain(|(_, class)| names.binary_search(class).is_ok());
        if groups.len() < 2 || to_predict.is_empty() {
            return Err(Failure::new(format!(
                "the study has {} to learn and {} to predict, expected at least 2 and 1",
                count(groups.len(), "class"),
                count(to_predict.len(), "row")
            )));
        }
        let place: HashMap<&str, usize> = names.iter().enumerate().map(|(i, name)| (*name, i)).collect();
        Ok(Self {
            classes: names.iter().map(ToString::to_string).collect(),
            train: names.iter().map(|name| groups.get(name).cloned().unwrap_or_default()).collect(),
            test: to_predict.into_iter().map(|(id, class)| (id, place[class])).collect(),
            groups: Vec::new(),
            seed,
        })
    }

    /// Returns the neighbours of each class, by number; nothing at all where none are declared.
    ///
    /// # Errors
    /// When a declared class takes no part.
    pub fn neighbours(&self, how: &Protocol) -> Result<Vec<Vec<usize>>, Failure> {
        let place = |name: &String| {
            let unknown = || {
                let failure = Failure::new(format!("`neighbours` names the class `{name}`, which takes no part"));
                failure.help(format!("the classes are {}", self.classes.join(", ")))
            };
            self.classes.binary_search(name).map_err(|_| unknown())
        };
        let mut near = if how.neighbours.is_empty() { Vec::new() } else { vec![Vec::new(); self.classes.len()] };
        for (class, others) in &how.neighbours {
            near[place(class)?] = others.iter().map(place).collect::<Result<_, _>>()?;
        }
        Ok(near)
    }

    /// Says which rows to predict belong together, so that they are drawn again together; a row without a group stands by itself.
    pub fn grouped(mut self, group_of: &BTreeMap<String, String>) -> Self {
        let mut numbers = HashMap::new();
        let mut groups = Vec::with_capacity(self.test.len());
        for (id, _) in &self.test {
            let fresh = numbers.len();
            // A row without a group is named by its id, which no group can be taken for.
            groups.push(*numbers.entry(group_of.get(id).ok_or(id)).or_insert(fresh));
        }
        let together = numbers.len() < self.test.len();
        self.groups = if together { groups } else { Vec::new() };
        self
    }

    /// Returns the rows that `repeat` draws with `n` per class: for each class, places among its training rows.
    ///
    /// A class that has fewer gives all it has. Draws of one repeat are nested: those of n = 5 begin those of n = 10.
    pub fn draw(&self, repeat: usize, n: usize) -> Vec<Vec<usize>> {
        let draw = |(class, ids): (&String, &Vec<String>)| {
            let mut order = Stream::new(self.seed, "draw").at(repeat as u64).of(class).draws().permutation(ids.len());
            order.truncate(n);
            order
        };
        self.classes.iter().zip(&self.train).map(draw).collect()
    }
}

/// Takes a share of every class out of the training rows.
fn hold_out<'a>(groups: &mut BTreeMap<&'a str, Vec<String>>, share: f64, seed: u64) -> Vec<(String, &'a str)> {
    let mut held = Vec::new();
    for (class, ids) in groups {
        let n = ids.len();
        let wanted = if n < 2 { 0 } else { ((share * n as f64).round() as usize).clamp(1, n - 1) };
        let mut chosen = Stream::new(seed, "validation").of(class).draws().permutation(n);
        chosen.truncate(wanted);
        let chosen: HashSet<usize> = chosen.into_iter().collect();
        held.extend(ids.iter().enumerate().filter(|(i, _)| chosen.contains(i)).map(|(_, id)| (id.clone(), *class)));
        let mut at = 0;
        ids.retain(|_| {
            at += 1;
            !chosen.contains(&(at - 1))
        });
    }
    held
}

impl Study {
    /// Joins features, labels and split.
    ///
    /// # Errors
    /// As [`Roster::new`], and when a row that takes part has no features.
    pub fn new(
        features: &Features,
        labels: &BTreeMap<String, String>,
        train: &[String],
        test: &[String],
        how: &Protocol,
        seed: u64,
    ) -> Result<Self, Failure> {
        let roster = Roster::new(labels, train, test, how, seed)?;
        let place = features.rows_by_id();
        let gather = |ids: &mut dyn Iterator<Item = &String>| -> Result<Array2<f32>, Failure> {
            let chosen = ids
                .map(|id| place.get(id.as_str()).copied().ok_or_else(|| Failure::new(format!("`{id}` takes part but has no features"))))
                .collect::<Result<Vec<usize>, Failure>>()?;
            let mut rows = Array2::zeros((chosen.len(), features.dim()));
            rows.outer_iter_mut().zip(&chosen).for_each(|(mut to, row)| to.assign(&features.values.row(*row)));
            Ok(rows)
        };
        let train = gather(&mut roster.train.iter().flatten())?.into_shared();
        let test = gather(&mut roster.test.iter().map(|(id, _)| id))?;
        let mut starts = vec![0];
        for ids in &roster.train {
            starts.push(starts[starts.len() - 1] + ids.len());
        }
        Ok(Self { roster, protocol: how.clone(), train, starts, test })
    }

    /// Returns the digest of all that decides a cell of this study, but the classifier and the number of labels.
    pub fn digest(&self) -> Digest {
        let Roster { classes, train, test, groups, seed } = &self.roster;
        let Protocol { repeats, keep_predictions, resamples, .. } = &self.protocol;
        // Row by row, so that no second copy of the features is made.
        let values = |rows: ArrayView2<'_, f32>| -> Vec<Digest> {
            rows.outer_iter().map(|row| Digest::of(&row.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())).collect()
        };
        let mut all = serde_json::json!({
            "classes": classes, "train": train, "test": test, "groups": groups, "seed": seed,
            "repeats": repeats, "keep_predictions": keep_predictions, "resamples": resamples,
            "train features": values(self.train.view()), "test features": values(self.test.view()),
        });
        // What is not asked for leaves no trace, so that cells that are kept stay known.
        if self.protocol.roc_auc {
            all["roc_auc"] = true.into();
        }
        if !self.protocol.transform.is_empty() {
            all["transform"] = serde_json::json!(self.protocol.transform);
        }
        Digest::of_json(&all)
    }

    /// Returns the training rows that `repeat` draws with `n` per class; classes without any are left out.
    pub(crate) fn rows(&self, repeat: usize, n: usize) -> Vec<ClassRows> {
        let drawn = self.roster.draw(repeat, n).into_iter().enumerate();
        drawn
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(class, rows)| ClassRows { class, points: rows.into_iter().map(|row| self.starts[class] + row).collect() })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> BTreeMap<String, String> {
        (0..40).map(|i| (format!("{i:02}"), ["a", "b", "b", "c"][i % 4].to_string())).collect()
    }

    fn roster(how: &Protocol) -> Result<Roster, Failure> {
        let ids: Vec<String> = labels().into_keys().collect();
        Roster::new(&labels(), &ids[..28], &ids[28..], how, 1)
    }

    #[test]
    fn draws_are_nested_within_a_repeat_and_differ_between_repeats() {
        let roster = roster(&Protocol::default()).unwrap();
        let (few, many) = (roster.draw(3, 2), roster.draw(3, 5));
        assert!(few.iter().zip(&many).all(|(few, many)| many.starts_with(few)));
        assert_ne!(roster.draw(4, 5), many);
        assert_eq!(roster.draw(0, 100).iter().map(Vec::len).collect::<Vec<_>>(), [7, 14, 7]);
    }

    #[test]
    fn draws_do_not_depend_on_the_order_of_the_split() {
        let mut ids: Vec<String> = labels().into_keys().collect();
        let test = ids.split_off(28);
        ids.reverse();
        assert_eq!(Roster::new(&labels(), &ids, &test, &Protocol::default(), 1).unwrap(), roster(&Protocol::default()).unwrap());
    }

    #[test]
    fn classes_below_the_least_size_leave_the_test_rows_too() {
        let roster = roster(&Protocol { min_class_size: 10, rename: [("c".into(), "a".into())].into(), ..Protocol::default() }).unwrap();
        assert_eq!(roster.classes, ["a", "b"]);
        assert_eq!(roster.test.len(), 12);
        let failure = self::roster(&Protocol { min_class_size: 10, ..Protocol::default() }).unwrap_err();
        assert_eq!(failure.message(), "the study has 1 class to learn and 6 rows to predict, expected at least 2 and 1");
    }

    #[test]
    fn the_digest_tells_studies_apart_that_differ_in_anything_but_the_sizes_and_hears_of_no_other_row() {
        let ids: Vec<String> = labels().into_keys().collect();
        let study = |value: f32, labels: &BTreeMap<String, String>, n: usize, how: &Protocol, seed: u64| {
            let values = Array2::from_shape_fn((ids.len(), 2), |(i, d)| if (i, d) == (0, 1) { value } else { (i + d) as f32 });
            let features = Features::new(ids.clone(), values).unwrap();
            Study::new(&features, labels, &ids[1..28], &ids[28..n], how, seed).unwrap().digest()
        };
        let how = Protocol::default();
        let corrected: BTreeMap<_, _> =
            labels().into_iter().map(|(id, class)| (id.clone(), if id == "39" { "a".into() } else { class })).collect();
        let more = Protocol { repeats: 101, ..how.clone() };
        let all = [
            study(0.0, &labels(), 40, &how, 1),
            study(0.0, &corrected, 40, &how, 1),
            study(0.0, &labels(), 39, &how, 1),
            study(0.0, &labels(), 40, &more, 1),
            study(0.0, &labels(), 40, &how, 2),
        ];
        assert!((1..all.len()).all(|i| !all[..i].contains(&all[i])));
        // Row 0 takes no part.
        assert_eq!(study(7.0, &labels(), 40, &Protocol { per_class: vec![3], ..how.clone() }, 1), all[0]);
    }

    #[test]
    fn validation_rows_come_from_the_training_rows_and_leave_them() {
        let how = Protocol { evaluate: Evaluate::Validation(Validation::default()), ..Protocol::default() };
        let roster = roster(&how).unwrap();
        assert_eq!(roster.train.iter().map(Vec::len).collect::<Vec<_>>(), [5, 10, 5]);
        assert_eq!(roster.test.len(), 8);
        assert!(roster.test.iter().all(|(id, _)| id.as_str() < "28" && !roster.train.iter().flatten().any(|t| t == id)));
    }

    #[test]
    fn leaks_and_missing_labels_are_named() {
        let ids: Vec<String> = labels().into_keys().collect();
        let leak = Roster::new(&labels(), &ids[..10], &ids[9..], &Protocol::default(), 1).unwrap_err();
        assert_eq!(leak.message(), "`09` comes a second time, among the test rows");
        let missing = Roster::new(&labels(), &["x".to_string()], &ids, &Protocol::default(), 1).unwrap_err();
        assert_eq!(missing.message(), "`x` is in the split but has no label");
        let unknown = roster(&Protocol { drop: vec!["d".into()], ..Protocol::default() }).unwrap_err();
        assert_eq!(unknown.message(), "`drop` names the class `d`, which no row has");
        let how = Protocol { neighbours: [("a".into(), vec!["c".into()])].into(), ..Protocol::default() };
        assert_eq!(roster(&how).unwrap().neighbours(&how).unwrap(), [vec![2], vec![], vec![]]);
        let how = Protocol { neighbours: [("a".into(), vec!["d".into()])].into(), ..how };
        let unknown = roster(&how).unwrap().neighbours(&how).unwrap_err();
        assert_eq!(unknown.message(), "`neighbours` names the class `d`, which takes no part");
    }
}
