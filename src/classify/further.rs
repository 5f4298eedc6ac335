//! Other rows in front of a study: further test sets, of the same images or of others, predicted by the same models.

use std::collections::{BTreeMap, HashSet};

use ndarray::{Array2, Axis};

use super::features::Features;
use super::params::Protocol;
use super::study::{Roster, Study};
use crate::diagnostic::{Failure, count};

/// A further test set.
#[derive(Clone, Copy, Debug)]
pub struct Further<'a> {
    pub features: &'a Features,
    /// The class of every row that takes part.
    pub labels: &'a BTreeMap<String, String>,
    /// The rows to predict; those without a label take no part.
    pub ids: &'a [String],
    /// What the study calls classes that have other names here.
    pub rename: &'a BTreeMap<String, String>,
    /// Classes left out, after renaming.
    pub drop: &'a [String],
    /// Whether ids name the images that the study learns from, so that a training row must not be among them.
    pub same_images: bool,
}

impl Study {
    /// Puts other rows in front of the same training rows, draws and classes.
    ///
    /// # Errors
    /// When an id comes twice or is learnt from, a class is none of the study's, `rename` or `drop` names a class that no row has, a row has
    /// no features or those of another number of dimensions, or no row is left.
    pub fn facing(&self, further: &Further<'_>) -> Result<Self, Failure> {
        let roster = self.roster.facing(further, &self.protocol)?;
        let (found, expected) = (further.features.dim(), self.train.ncols());
        if found != expected {
            return Err(Failure::new(format!(
                "its features have {}, expected {expected} as those that are learnt from",
                count(found, "dimension")
            )));
        }
        let place = further.features.rows_by_id();
        let row = |(id, _): &(String, usize)| {
            place.get(id.as_str()).copied().ok_or_else(|| Failure::new(format!("`{id}` takes part but has no features")))
        };
        let rows = roster.test.iter().map(row).collect::<Result<Vec<usize>, Failure>>()?;
        let test: Array2<f32> = further.features.values.select(Axis(0), &rows);
        let (protocol, train, starts) = (self.protocol.clone(), self.train.clone(), self.starts.clone());
        Ok(Self { roster, protocol, train, starts, test })
    }
}

impl Roster {
    /// The same classes and training rows with other rows to predict.
    fn facing(&self, further: &Further<'_>, how: &Protocol) -> Result<Self, Failure> {
        let named: HashSet<&String> = further.labels.values().collect();
        if let Some(name) = further.rename.keys().find(|name| !named.contains(name)) {
            return Err(Failure::new(format!("`rename` names the class `{name}`, which none of its rows has")));
        }
        let renamed: HashSet<&String> = further.rename.values().chain(how.rename.values()).collect();
        if let Some(name) = further.drop.iter().find(|name| !named.contains(name) && !renamed.contains(name)) {
            return Err(Failure::new(format!("`drop` names the class `{name}`, which none of its rows has")));
        }
        let mut seen: HashSet<&str> = HashSet::new();
        if further.same_images {
            seen.extend(self.train.iter().flatten().map(String::as_str));
        }
        let mut test = Vec::new();
        for id in further.ids {
            let Some(label) = further.labels.get(id) else { continue };
            if !seen.insert(id) {
                return Err(Failure::new(format!("`{id}` comes a second time, or is learnt from")));
            }
            let label = further.rename.get(label).unwrap_or(label);
            let label = how.rename.get(label).unwrap_or(label);
            if further.drop.contains(label) || how.drop.contains(label) {
                continue;
            }
            match self.classes.binary_search(label) {
                Ok(class) => test.push((id.clone(), class)),
                // As among the study's own test rows: only classes of the least size take part.
                Err(_) if how.min_class_size > 0 => {}
                Err(_) => {
                    let failure = Failure::new(format!("its class `{label}` is none of those that are learnt"));
                    return Err(
                        failure.help(format!("say so with `rename` or `drop` beside it; the classes are {}", self.classes.join(", ")))
                    );
                }
            }
        }
        if test.is_empty() {
            return Err(Failure::new("it has no row to predict, expected at least 1 of the classes that are learnt"));
        }
        Ok(Self { classes: self.classes.clone(), train: self.train.clone(), test, groups: Vec::new(), seed: self.seed })
    }
}

#[cfg(test)]
mod tests {
    use super::super::params::{Classifier, Knn, Svm};
    use super::super::sweep::{judged_sweep, judged_sweeps};
    use super::*;
    use crate::stage::Silent;

    fn features(part: &str, n: usize) -> Features {
        let values = Array2::from_shape_fn((n, 3), |(i, d)| ((i * (d + 2)) as f32 * 0.7).sin() + if i % 2 == d { 1.0 } else { 0.0 });
        Features::new((0..n).map(|i| format!("{part}{i:02}")).collect(), values).unwrap()
    }

    fn labels(features: &Features, names: [&str; 2]) -> BTreeMap<String, String> {
        features.ids.iter().enumerate().map(|(i, id)| (id.clone(), names[i % 2].to_string())).collect()
    }

    fn study(how: &Protocol) -> Study {
        let own = features("a", 50);
        Study::new(&own, &labels(&own, ["x", "y"]), &own.ids[..30], &own.ids[30..], how, 3).unwrap()
    }

    #[test]
    fn further_rows_are_predicted_by_the_models_of_the_study_and_change_nothing_for_its_own() {
        let how = Protocol { repeats: 2, resamples: 10, ..Protocol::default() };
        let study = study(&how);
        let other = features("b", 21);
        let theirs = labels(&other, ["ex", "y"]);
        let rename = [("ex".to_string(), "x".to_string())].into();
        let further = Further { features: &other, labels: &theirs, ids: &other.ids, rename: &rename, drop: &[], same_images: false };
        let facing = study.facing(&further).unwrap();
        assert_eq!((facing.roster.test.len(), facing.roster.draw(1, 5)), (21, study.roster.draw(1, 5)));
        let wanted = [Classifier::Svm(Svm::default()), Classifier::Knn(Knn::default())].map(|classifier| (classifier, 5));
        let together = judged_sweeps(&[&study, &facing], &wanted, &Silent).unwrap();
        for (study, cells) in [&study, &facing].into_iter().zip(&together) {
            assert_eq!(&judged_sweep(study, &wanted, &Silent).unwrap(), cells);
        }
        // The same images named as a further set come to the same counts as they do on their own.
        let own = features("a", 50);
        let again = Further {
            features: &own,
            labels: &labels(&own, ["x", "y"]),
            ids: &own.ids[30..],
            rename: &BTreeMap::new(),
            drop: &[],
            same_images: true,
        };
        assert_eq!(judged_sweep(&study.facing(&again).unwrap(), &wanted, &Silent).unwrap(), together[0]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let study = study(&Protocol::default());
        let (own, wide) = (features("a", 50), Features::new(vec!["w".into()], Array2::zeros((1, 4))).unwrap());
        let (known, none, some) = (labels(&own, ["x", "z"]), BTreeMap::new(), ["z".to_string()]);
        let said = |features: &Features, ids: &[String], same_images: bool, drop: &[String]| {
            let further = Further { features, labels: &known, ids, rename: &none, drop, same_images };
            study.facing(&further).map(|facing| facing.roster.test.len()).map_err(|failure| failure.message().to_string())
        };
        assert_eq!(said(&own, &own.ids[29..31], true, &[]), Err("`a29` comes a second time, or is learnt from".into()));
        assert_eq!(said(&own, &own.ids[29..31], false, &[]), Err("its class `z` is none of those that are learnt".into()));
        assert_eq!(said(&own, &own.ids[29..31], false, &some), Ok(1));
        let misspelt = Err("`drop` names the class `Z`, which none of its rows has".into());
        assert_eq!(said(&own, &own.ids[29..31], false, &["Z".to_string()]), misspelt);
        assert_eq!(said(&own, &[], false, &[]), Err("it has no row to predict, expected at least 1 of the classes that are learnt".into()));
        assert_eq!(
            said(&wide, &own.ids[30..31], false, &[]),
            Err("its features have 4 dimensions, expected 3 as those that are learnt from".into())
        );
    }
}
