//! What a report is told: numbers and names, no files and no keys.

use serde::{Deserialize, Serialize};

use super::reference::{Level, Reference};

/// Everything on one report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Study {
    pub title: String,
    /// One line below the title: the data set, the network.
    pub subtitle: String,
    pub datasets: Vec<Dataset>,
    pub sweeps: Vec<SweepResults>,
    /// Single results that do not depend on n, such as a network trained on all labels.
    pub levels: Vec<Level>,
    pub curves: Vec<TrainingCurve>,
    /// Published results to stand beside ours.
    pub reference: Option<Reference>,
    pub confusions: Vec<Confusion>,
    pub sheets: Vec<Sheet>,
    pub provenance: Vec<Provenance>,
    /// Remarks on how the numbers came about.
    pub notes: Vec<String>,
    /// What a reader must know before believing a number.
    pub warnings: Vec<String>,
    /// The number of labels per class that the first sentence speaks of; by default 100, or the nearest there is.
    pub headline_per_class: Option<usize>,
    /// The balanced accuracy that is wanted, where one is.
    pub target: Option<f64>,
}

/// A data set and its split.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Dataset {
    pub name: String,
    pub classes: Vec<ClassCount>,
    /// Images without a label, used for label-blind training alone.
    pub unlabelled: usize,
    /// How the images were divided, in words: "stratified, 30 % test", "by patient".
    pub split: String,
    /// What the scan and the split had to say.
    pub notes: Vec<String>,
}

/// How many labelled images of a class each part has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClassCount {
    pub class: String,
    pub train: usize,
    pub test: usize,
    pub validation: usize,
}

/// What a sweep's features are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The representation that is studied.
    #[default]
    Studied,
    /// A floor that it must beat: an untrained network, raw pixels.
    Floor,
    /// What one would do without it: a network trained on the same labels.
    Baseline,
}

/// The results of one sweep: methods by labels per class.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SweepResults {
    /// As figures name it: "DINO", "untrained network", "pixels", "supervised".
    pub name: String,
    pub role: Role,
    pub cells: Vec<Cell>,
}

/// All repeats of one method with one number of labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// As figures name it: "SVM".
    pub method: String,
    /// Labelled images per class.
    pub per_class: usize,
    pub repeats: usize,
    /// Labelled images over all classes; classes with fewer than `per_class` give all they have.
    pub labels: usize,
    /// Mean balanced accuracy on the test images over the repeats.
    pub mean: f64,
    /// Its standard deviation over the repeats (0 for one repeat).
    pub std: f64,
    /// A 95 % interval of the mean from drawing test images and draws again, where one was computed.
    pub interval: Option<(f64, f64)>,
    /// Mean area under the ROC curves (one-vs-rest, macro) and its deviation over the repeats, where it was computed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub roc_auc: Option<(f64, f64)>,
    /// The mean under each resample of test images and draws; empty where there are none.
    #[serde(skip)]
    pub resampled: Vec<f32>,
    /// Which resamples these are: values of two cells are of the same test images, one by one, where this is the same.
    #[serde(skip)]
    pub resamples: String,
}

/// How one method with one number of labels confuses classes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Confusion {
    /// The features: "DINO".
    pub sweep: String,
    pub method: String,
    pub per_class: usize,
    pub repeats: usize,
    pub classes: Vec<String>,
    /// `counts[truth][predicted]`, of all repeats together.
    pub counts: Vec<Vec<u64>>,
    /// Deviation of each class's recall over the repeats, where known.
    pub recall_std: Vec<Option<f64>>,
}

/// How a training went.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TrainingCurve {
    pub name: String,
    /// What the panels' horizontal axis counts: "epoch", "step".
    pub x: String,
    pub panels: Vec<Panel>,
    pub verdict: Option<Verdict>,
}

/// One chart of a training.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Panel {
    pub title: String,
    pub lines: Vec<Line>,
    /// Horizontal lines to compare with: "ln K".
    pub levels: Vec<(String, f64)>,
}

/// A named line of (x, y).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// What to think of a training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Verdict {
    Good(String),
    Doubtful(String),
    Bad(String),
}

/// A moment of a DINO training.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct DinoPoint {
    pub epoch: f64,
    pub loss: f64,
    /// Mean entropy of the teacher's outputs, in nats; ln K when it tells nothing apart.
    pub teacher_entropy: f64,
    /// What the student still has to learn of the teacher, in nats: loss less entropy.
    pub kl: f64,
    pub centre_norm: f64,
    /// Mean deviation of the normalised features over images; 0 when all images look alike.
    pub feature_std: f64,
    /// Number of directions in which the features of a batch vary.
    pub effective_rank: f64,
    pub learning_rate: f64,
    pub teacher_momentum: f64,
}

impl TrainingCurve {
    /// Lays out a DINO training with `k` output dimensions: loss against its floor and ln K, entropy and KL, what features and centre do,
    /// schedules; and judges it.
    ///
    /// A run collapsed to the uniform output has entropy ln K; one collapsed to a single code has a loss near 0; in both all
    /// images have one feature.
    pub fn dino(name: &str, points: &[DinoPoint], k: usize) -> Self {
        let line =
            |name: &str, of: fn(&DinoPoint) -> f64| Line { name: name.into(), points: points.iter().map(|p| (p.epoch, of(p))).collect() };
        let uniform = (k as f64).ln();
        let ln_k = ("ln K".to_string(), uniform);
        let panel = |title: &str, lines: Vec<Line>, levels: Vec<(String, f64)>| Panel { title: title.into(), lines, levels };
        Self {
            name: name.to_string(),
            x: "epoch".to_string(),
            panels: vec![
                panel("Loss (nats)", vec![line("loss", |p| p.loss), line("floor", |p| p.teacher_entropy)], vec![ln_k.clone()]),
                panel("Teacher (nats)", vec![line("entropy", |p| p.teacher_entropy), line("KL", |p| p.kl)], vec![ln_k]),
                panel("Deviation of features over images", vec![line("deviation", |p| p.feature_std)], Vec::new()),
                panel("Effective rank of features", vec![line("rank", |p| p.effective_rank)], Vec::new()),
                panel("Length of the centre", vec![line("length", |p| p.centre_norm)], Vec::new()),
                panel("Learning rate", vec![line("rate", |p| p.learning_rate)], Vec::new()),
                panel("Momentum of the teacher", vec![line("momentum", |p| p.teacher_momentum)], Vec::new()),
            ],
            verdict: points.last().zip(points.first()).map(|(last, first)| judge(first, last, uniform)),
        }
    }
}

fn judge(first: &DinoPoint, last: &DinoPoint, uniform: f64) -> Verdict {
    let said = format!(
        "final loss {:.3}, teacher entropy {:.2} of at most {uniform:.2}, feature deviation {:.4}",
        last.loss, last.teacher_entropy, last.feature_std
    );
    if !(last.loss.is_finite() && last.feature_std.is_finite()) {
        Verdict::Bad(format!("the training broke down: {said}"))
    } else if last.teacher_entropy > 0.99 * uniform && last.loss > 0.97 * uniform {
        Verdict::Bad(format!("collapsed to the uniform output, nothing was learnt: {said}"))
    } else if last.loss < 0.02 * uniform || last.feature_std < 1e-4 {
        Verdict::Bad(format!("collapsed to one output for all images, nothing was learnt: {said}"))
    } else if last.loss >= first.loss {
        Verdict::Doubtful(format!("the loss did not fall: {said}"))
    } else {
        Verdict::Good(format!("no sign of collapse: {said}"))
    }
}

/// A picture of pictures, such as sample images beside their augmented views.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sheet {
    pub caption: String,
    #[serde(skip)]
    pub png: Vec<u8>,
}

/// How one node's result came about.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Provenance {
    pub node: String,
    pub kind: String,
    pub version: u32,
    /// The node's key.
    pub key: String,
    /// Parameters that differ from their defaults, as written.
    pub params: String,
    /// The roles of what it was made from.
    pub inputs: Vec<String>,
}
