//! `Pool`: images of several data sets -> one table for training without labels, with weights, and without test images.

use serde_json::Value;

use super::ingest::Scanned;
use super::io;
use super::kinds::{IMAGES, PRINTS, SCAN, WEIGHTS};
use crate::data::{ImageTable, PoolRules, PoolWeights, Protocol, join_pools};
use crate::diagnostic::{Failure, count};
use crate::params::{DataPath, Ref};
use crate::stage::{Complaint, Input, Io, Output, Source, Stage};

crate::params! {
    /// One of the pools.
    pub struct PoolOf {
        pub images: Ref = Ref::default(),
        /// How often each image comes in an epoch: 0.25 once in four epochs, 2 twice in each.
        pub weight: f64 = 1.0,
        /// Only the images that this list names are taken: CSV with a column `id` or `image`.
        pub list: Option<DataPath> = None,
    }

    /// Images to train on without labels, each picture once. What tests is refused.
    pub struct Pool {
        /// The pools, such as `[(images: "split.train"), (images: "unlabelled", weight: 0.5)]`.
        pub of: Vec<PoolOf> = Vec::new(),
        /// The images that test: of every split that will be tested on.
        pub apart_from: Vec<Ref> = Vec::new(),
        /// A node `Fingerprints` of all these images: copies that differ in their bytes are then found too.
        pub prints: Ref = Ref::default(),
        /// Bits of 256 in which the looks of two pictures may differ that count as one; by default pixels must be the same.
        pub near: Option<u32> = None,
        /// Leaves test images out of the pools instead of refusing them.
        pub leave_out_test: bool = false,
        /// Goes on without images that a list names and that are not there.
        pub allow_missing: bool = false,
        /// `Paper` accepts images whose patient or lesion tests too.
        pub protocol: Protocol = Protocol::Strict,
    }
}

impl Stage for Pool {
    fn kind(&self) -> &'static str {
        "Pool"
    }

    fn version(&self) -> u32 {
        1
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let complaint = |field: String, message: String| Complaint { field, message };
        let mut wrong: Vec<Complaint> = self
            .of
            .iter()
            .enumerate()
            .filter(|(_, pool)| !(pool.weight > 0.0 && pool.weight <= PoolWeights::MOST))
            .map(|(i, pool)| {
                complaint(format!("of.{i}.weight"), format!("must be above 0 and at most {}, got {}", PoolWeights::MOST, pool.weight))
            })
            .collect();
        if self.of.is_empty() {
            wrong.push(complaint("of".into(), "must name at least one pool, such as `(images: \"split.train\")`".into()));
        }
        wrong.extend(io::check_near(self.near, &self.prints));
        wrong
    }

    fn inputs(&self) -> Vec<Input> {
        let pools = self.of.iter().enumerate().map(|(i, pool)| Input::required(format!("of.{i}.images"), &pool.images, IMAGES));
        let prints = Input::optional("prints", &self.prints, PRINTS);
        pools.chain(Input::each("apart_from", &self.apart_from, IMAGES)).chain([prints]).collect()
    }

    fn sources(&self) -> Vec<Source> {
        let list = |(i, pool): (usize, &PoolOf)| {
            let about = "a CSV list with a column `id` or `image`".to_string();
            pool.list.as_ref().map(|path| Source { role: format!("of.{i}.list"), path: path.clone(), about })
        };
        self.of.iter().enumerate().filter_map(list).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output::file("images", IMAGES), Output::file("weights", WEIGHTS), Output::file("scan", SCAN)]
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let mut pools = Vec::new();
        for (i, pool) in self.of.iter().enumerate() {
            let list = pool.list.as_ref().map(|_| io.source(&format!("of.{i}.list")).map(|set| set.root.as_path())).transpose()?;
            pools.push(crate::data::Pool { images: io::images(io, &format!("of.{i}.images"))?, list, weight: pool.weight });
        }
        let tests: Vec<ImageTable> =
            (0..self.apart_from.len()).map(|i| io::images(io, &format!("apart_from.{i}"))).collect::<Result<_, _>>()?;
        let all = pools.iter().map(|pool| &pool.images).chain(&tests).flat_map(ImageTable::rows);
        let alike = io::alike(io, "prints", all, self.near)?;
        let (leave_out_test, allow_missing) = (self.leave_out_test, self.allow_missing);
        let rules = PoolRules { alike, leave_out_test, allow_missing, protocol: self.protocol };
        let joined = join_pools(pools, &tests, &rules).map_err(|failure| failure.while_doing("joining pools"))?;
        joined.notes.iter().for_each(|note| io.monitor().note(note));
        io.monitor().note(&format!("{} in {}", count(joined.images.len(), "image"), count(self.of.len(), "pool")));
        io.metric("images", joined.images.len() as f64);
        io::write(io, "images", |out| joined.images.write(out))?;
        io::write(io, "weights", |out| joined.weights.write(out))?;
        io::write_json(io, "scan", &Scanned { notes: joined.notes, differences: Vec::new() })
    }
}
