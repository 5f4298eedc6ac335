//! `Split`: images and labels -> the ids of train, test and validation, and the images of each.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::io;
use super::kinds::{COUNTS, IMAGES, LABELS, PRINTS, SPLIT};
use crate::data::{ClassCounts, Guard, Protocol, Split as How};
use crate::diagnostic::Failure;
use crate::params::Ref;
use crate::stage::{Complaint, Input, Io, Output, Source, Stage};

crate::params! {
    /// Who learns and who tests.
    pub struct Split {
        pub images: Ref = Ref::default(),
        pub labels: Ref = Ref::default(),
        /// A node `Fingerprints` of these images: copies that differ in their bytes are then found too, and a grouped split keeps them together.
        pub prints: Ref = Ref::default(),
        /// Bits of 256 in which the looks of two pictures may differ that count as one; by default pixels must be the same. 16 finds whole
        /// pictures that were saved again at half the size, 32 most crops of cells (Chula RBC-12, where other crops are at least 45 away).
        pub near: Option<u32> = None,
        /// `Stratified(test: 0.3)`, `GroupedStratified(test: 0.3)` `Lists(train: "train.csv", test: "test.csv")`
        /// or `Folds(file: "5_fold_split.csv", test: 0)`.
        pub how: How = How::Stratified(crate::data::Stratified::default()),
        /// `Strict` refuses a split that divides a patient, lesion or slide; `Paper` allows it, and the report says so.
        pub protocol: Protocol = Protocol::Strict,
        /// Test images that every class needs. With one, its recall is 0 or 1 by chance; 0 accepts classes that are not tested at all.
        pub min_test: usize = 2,
    }
}

/// How the images were divided, for reports.
#[derive(Serialize, Deserialize)]
pub struct Divided {
    /// "by image, stratified, 30 % test"
    pub rule: String,
    pub classes: Vec<ClassCounts>,
    pub notes: Vec<String>,
}

impl Stage for Split {
    fn kind(&self) -> &'static str {
        "Split"
    }

    fn version(&self) -> u32 {
        2
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let mut wrong = io::complaints("how", self.how.check());
        wrong.extend(io::check_near(self.near, &self.prints));
        wrong
    }

    fn inputs(&self) -> Vec<Input> {
        let prints = Input::optional("prints", &self.prints, PRINTS);
        vec![Input::required("images", &self.images, IMAGES), Input::required("labels", &self.labels, LABELS), prints]
    }

    fn sources(&self) -> Vec<Source> {
        let about = match self.how {
            How::Folds(_) => "a CSV table with a column `id`, `image` or `file-name` and a column `split-index` or `fold`",
            _ => "a CSV list with a column `id` or `image`",
        };
        let source = |(field, path): (&str, &crate::params::DataPath)| Source {
            role: format!("how.{field}"),
            path: path.clone(),
            about: about.to_string(),
        };
        self.how.roots().into_iter().map(source).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        vec![
            Output::file("lists", SPLIT),
            Output::file("train", IMAGES),
            Output::file("test", IMAGES),
            Output::file("validation", IMAGES),
            Output::file("counts", COUNTS),
        ]
    }

    fn seeded(&self) -> bool {
        !matches!(self.how, How::Lists(_) | How::Folds(_))
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let images = io::images(io, "images")?;
        let labels = io::labels(io, "labels")?;
        let places = self
            .how
            .roots()
            .iter()
            .map(|(field, _)| io.source(&format!("how.{field}")).map(|set| &set.root))
            .collect::<Result<Vec<_>, _>>()?;
        let alike = io::alike(io, "prints", images.rows(), self.near)?;
        let guard = Guard { alike, protocol: self.protocol, min_test: self.min_test };
        let division = self.how.divide(&images, &labels, io.seed(), &places, &guard)?;
        division.notes.iter().for_each(|note| io.monitor().note(note));
        for (part, ids) in division.lists.parts() {
            io.metric(part, ids.len() as f64);
            io::write(io, part, |out| images.select(ids)?.write(out))?;
        }
        io::write(io, "lists", |out| division.lists.write(out))?;
        let rule = match self.protocol {
            Protocol::Strict => self.how.words(),
            Protocol::Paper => format!("{} (protocol: Paper)", self.how.words()),
        };
        let counts = Divided { rule, classes: division.counts, notes: division.notes };
        io::write_json(io, "counts", &counts)
    }
}
