//! Published numbers: Nielsen et al., "Self-supervision for medical image classification", arXiv:2304.05163.
//!
//! Balanced accuracy on the test images. Table 1 gives means and deviations of the SVM; the other methods are read off the figures
//! to about a hundredth, and said to be.

use serde::{Deserialize, Serialize};

/// Published results to stand beside ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reference {
    /// The paper's, on one of its data sets.
    Paper(PaperSet),
}

/// A data set of the paper. Those in `250` keep only classes with at least 250 labelled training images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PaperSet {
    BoneMarrow,
    Endo,
    Isic,
    BoneMarrow250,
    Endo250,
    Isic250,
}

/// A published curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReferenceRow {
    pub method: String,
    /// Where the numbers stand.
    pub source: String,
    /// Labels per class, mean, and deviation where published.
    pub cells: Vec<(usize, f64, Option<f64>)>,
}

/// A result that does not depend on the number of labels per class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    pub name: String,
    pub value: f64,
    pub std: Option<f64>,
}

const N: [usize; 9] = [1, 5, 10, 25, 50, 100, 250, 500, 1000];

/// The paper's Table 1 (SVM): hundredths of mean and deviation.
const fn table_1(set: PaperSet) -> &'static [(u8, u8)] {
    match set {
        PaperSet::BoneMarrow => &[(27, 4), (48, 2), (56, 2), (65, 1), (70, 1), (72, 1), (73, 2), (71, 2), (70, 1)],
        PaperSet::Endo => &[(36, 3), (52, 2), (57, 2), (61, 1), (62, 1), (62, 1), (62, 0), (62, 0), (62, 0)],
        PaperSet::Isic => &[(22, 3), (36, 2), (42, 2), (51, 1), (56, 1), (62, 1), (67, 0), (70, 0), (73, 0)],
        PaperSet::BoneMarrow250 => &[(26, 3), (46, 2), (55, 1), (64, 1), (68, 0), (71, 0), (74, 0)],
        PaperSet::Endo250 => &[(55, 5), (78, 2), (84, 1), (88, 0), (90, 0), (91, 0), (93, 0)],
        PaperSet::Isic250 => &[(22, 3), (34, 2), (40, 2), (48, 1), (52, 1), (57, 1), (62, 1)],
    }
}

/// Figures 2 and 4: hundredths for KNN, logistic regression, linear layer, network trained on the same labels.
const fn figure(set: PaperSet) -> [(&'static str, &'static [u8]); 4] {
    match set {
        PaperSet::BoneMarrow => [
            ("KNN", &[27, 41, 48, 54, 58, 61, 63, 64, 63]),
            ("LR", &[28, 49, 57, 64, 67, 68, 67, 69, 71]),
            ("LL", &[33, 43, 53, 59, 64, 67, 69, 69, 69]),
            ("DL", &[17, 24, 31, 41, 49, 56, 61, 64, 65]),
        ],
        PaperSet::Endo => [
            ("KNN", &[36, 46, 50, 54, 55, 56, 56, 55]),
            ("LR", &[36, 52, 58, 62, 62, 61, 61, 61]),
            ("LL", &[35, 44, 54, 60, 60, 60, 61, 61]),
            ("DL", &[21, 30, 39, 47, 50, 53, 55, 57]),
        ],
        PaperSet::Isic => [
            ("KNN", &[22, 34, 39, 45, 50, 54, 62, 66, 68]),
            ("LR", &[22, 36, 41, 47, 51, 55, 61, 63, 64]),
            ("LL", &[12, 21, 31, 38, 41, 46, 50, 51, 51]),
            ("DL", &[20, 24, 29, 36, 43, 48, 57, 62, 66]),
        ],
        PaperSet::BoneMarrow250 | PaperSet::Endo250 | PaperSet::Isic250 => [("KNN", &[]), ("LR", &[]), ("LL", &[]), ("DL", &[])],
    }
}

/// Figure 3: class, recall of the SVM at 100 labels per class, of Matek et al. (5-fold, all labels), of the network on the same labels.
const BONE_MARROW_RECALL: [(&str, u8, u8, u8); 21] = [
    ("NGS", 73, 71, 65),
    ("EBO", 79, 82, 69),
    ("LYT", 69, 70, 62),
    ("ART", 71, 74, 50),
    ("PMO", 69, 72, 49),
    ("BLA", 64, 65, 42),
    ("NGB", 65, 65, 49),
    ("PLM", 81, 84, 64),
    ("MYB", 58, 59, 36),
    ("EOS", 90, 91, 76),
    ("MON", 63, 70, 47),
    ("NIF", 63, 63, 45),
    ("MMZ", 47, 64, 41),
    ("PEB", 82, 63, 69),
    ("BAS", 64, 64, 58),
    ("HAC", 84, 80, 68),
    ("OTH", 80, 84, 70),
    ("LYI", 83, 53, 71),
    ("FGC", 45, 63, 38),
    ("KSC", 95, 90, 89),
    ("ABE", 97, 20, 17),
];

impl Reference {
    /// Returns the published curves.
    pub fn rows(self) -> Vec<ReferenceRow> {
        let Self::Paper(set) = self;
        let hundredth = |x: u8| f64::from(x) / 100.0;
        let mut rows = vec![ReferenceRow {
            method: "SVM".to_string(),
            source: "Table 1".to_string(),
            cells: N.iter().zip(table_1(set)).map(|(n, (mean, std))| (*n, hundredth(*mean), Some(hundredth(*std)))).collect(),
        }];
        for (method, means) in figure(set).into_iter().filter(|(_, means)| !means.is_empty()) {
            rows.push(ReferenceRow {
                method: method.to_string(),
                source: "read off the figure, ±.01".to_string(),
                cells: N.iter().zip(means).map(|(n, mean)| (*n, hundredth(*mean), None)).collect(),
            });
        }
        rows
    }

    /// Returns the published results that do not depend on n.
    pub fn levels(self) -> Vec<Level> {
        let Self::Paper(set) = self;
        let (all, literature) = match set {
            PaperSet::BoneMarrow => (0.51, Some(0.69)),
            PaperSet::Endo => (0.56, Some(0.62)),
            PaperSet::Isic => (0.63, Some(0.67)),
            PaperSet::BoneMarrow250 => (0.72, Some(0.71)),
            PaperSet::Endo250 => (0.92, Some(0.92)),
            PaperSet::Isic250 => (0.67, None),
        };
        let level = |name: &str, value| Level { name: name.to_string(), value, std: None };
        let mut levels = vec![level("paper: DL, all labels", all)];
        levels.extend(literature.map(|value| level("paper: literature", value)));
        levels
    }

    /// Returns the published recall of a class by column: name of the column and value.
    pub fn recall(self, class: &str) -> Vec<(&'static str, f64)> {
        if self != Self::Paper(PaperSet::BoneMarrow) {
            return Vec::new();
        }
        let row = BONE_MARROW_RECALL.iter().find(|(code, ..)| *code == class);
        row.map_or_else(Vec::new, |(_, svm, matek, dl)| {
            [("paper, SVM, n=100", svm), ("Matek 2021, all labels", matek), ("paper, DL, n=100", dl)]
                .map(|(name, x)| (name, f64::from(*x) / 100.0))
                .to_vec()
        })
    }

    /// Returns the line that names the source.
    pub fn source(self) -> &'static str {
        "Nielsen et al. 2023, arXiv:2304.05163: SVM from Table 1, the other methods read off Figures 2 to 4 (±.01). \
         DL is a network trained on the same labels, LL a linear layer on frozen features."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_recalls_have_the_published_means() {
        let mean = |of: fn(&(&str, u8, u8, u8)) -> u8| BONE_MARROW_RECALL.iter().map(|r| f64::from(of(r))).sum::<f64>() / 2_100.0;
        let close = |a: f64, b: f64| (a - b).abs() < 0.006;
        assert!(close(mean(|r| r.1), 0.725) && close(mean(|r| r.2), 0.689) && close(mean(|r| r.3), 0.560));
    }

    #[test]
    fn table_1_is_at_hand_for_every_set() {
        let rows = Reference::Paper(PaperSet::BoneMarrow).rows();
        assert_eq!(rows[0].cells[5], (100, 0.72, Some(0.01)));
        assert_eq!(rows.len(), 5);
        assert_eq!(Reference::Paper(PaperSet::Isic250).rows()[0].cells.len(), 7);
    }
}
