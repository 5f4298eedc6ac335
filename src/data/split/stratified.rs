//! A split by image in which every class has the same proportions.

use super::allocate::approximate_mode;
use super::outcome::{Division, conclude, rank};
use crate::data::names::ImageId;
use crate::data::table::{ImageTable, Labels};
use crate::diagnostic::{Failure, count};
use crate::random::Stream;

crate::params! {
    /// A stratified split with scikit-learn's counts: test gets ceil(test * N) of the N labelled images.
    pub struct Stratified {
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

impl Stratified {
    pub(super) fn divide(&self, images: &ImageTable, labels: &Labels, seed: u64) -> Result<Division, Failure> {
        let mut members: Vec<Vec<ImageId>> = vec![Vec::new(); labels.classes().len()];
        for (id, class) in labels.iter().filter(|(id, _)| images.position(id).is_some()) {
            members[class].push(id.clone());
        }
        let single: Vec<&str> =
            members.iter().zip(labels.classes()).filter(|(m, _)| m.len() == 1).map(|(_, class)| class.as_str()).collect();
        if !single.is_empty() {
            let what = count(single.len(), "class");
            return Err(Failure::new(format!("{what} with a single image cannot be divided: `{}`", single.join("`, `")))
                .help("leave the class out, or add images"));
        }
        let n: usize = members.iter().map(Vec::len).sum();
        let n_classes = members.iter().filter(|m| !m.is_empty()).count();
        let share = |part: f64| (part * n as f64).ceil() as usize;
        let (n_test, n_validation) = (share(self.test), share(self.validation));
        let n_train = n.saturating_sub(n_test + n_validation);
        for (part, size) in [("train", n_train), ("test", n_test)] {
            if size < n_classes {
                return Err(Failure::new(format!("{part} would get {} for {}", count(size, "image"), count(n_classes, "class")))
                    .help("every class needs at least one image in every part: change the shares, or add images"));
            }
        }

        let mut draws = Stream::new(seed, "split").of("allocation").draws();
        let sizes: Vec<usize> = members.iter().map(Vec::len).collect();
        let train = approximate_mode(&sizes, n_train, &mut draws);
        let rest: Vec<usize> = sizes.iter().zip(&train).map(|(all, train)| all - train).collect();
        let test = approximate_mode(&rest, n_test, &mut draws);

        let mut parts: [Vec<ImageId>; 3] = Default::default();
        for (class, mut ids) in members.into_iter().enumerate() {
            ids.sort_by_cached_key(|id| rank(seed, "order", id));
            let validation = ids.split_off(train[class] + test[class]);
            let test = ids.split_off(train[class]);
            for (part, ids) in parts.iter_mut().zip([ids, test, validation]) {
                part.extend(ids);
            }
        }
        conclude(parts, images, labels, &|_| false, self.max_per_class.map(|most| (most, seed)), Vec::new())
    }
}
