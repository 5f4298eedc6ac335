//! Which images an epoch holds, and in which order: each once, or as often as its weight says.

use std::collections::BTreeMap;

use crate::data::Views;
use crate::random::Stream;

/// The images of a training by weight.
pub struct Mix {
    /// Images of one weight, and how many of them an epoch takes.
    strata: Vec<(Vec<usize>, usize)>,
}

impl Mix {
    /// Sorts the images of a source by their weights. Weights must be above 0.
    pub fn of(source: &dyn Views) -> Self {
        let mut by_weight: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        // The bits of numbers above 0 are in the order of the numbers.
        (0..source.n_images()).for_each(|image| by_weight.entry(source.weight(image).to_bits()).or_default().push(image));
        let taken = |bits: u64, n: usize| ((f64::from_bits(bits) * n as f64).round() as usize).max(1);
        Self { strata: by_weight.into_iter().map(|(bits, images)| (taken(bits, images.len()), images)).map(|(n, i)| (i, n)).collect() }
    }

    /// Returns how many images an epoch holds, those that come twice counted twice.
    pub fn per_epoch(&self) -> usize {
        self.strata.iter().map(|(_, taken)| taken).sum()
    }

    /// Returns the images of an epoch in their order, each with how often it came before.
    ///
    /// An epoch goes on where the last one stopped in an endless row of shuffles of the images of one weight, so that none comes again
    /// before all others have come.
    pub fn epoch(&self, seed: u64, epoch: u64) -> Vec<(usize, u64)> {
        let mut held = Vec::with_capacity(self.per_epoch());
        for (number, (images, taken)) in self.strata.iter().enumerate() {
            if *taken == images.len() {
                held.extend(images.iter().map(|image| (*image, epoch)));
                continue;
            }
            let (n, first) = (images.len() as u64, epoch * *taken as u64);
            let mut shuffle = (u64::MAX, Vec::new());
            for place in first..first + *taken as u64 {
                let pass = place / n;
                if shuffle.0 != pass {
                    shuffle = (pass, Stream::new(seed, "dino pool").at(number as u64).at(pass).draws().permutation(images.len()));
                }
                held.push((images[shuffle.1[(place % n) as usize]], pass));
            }
        }
        let order = Stream::new(seed, "dino epoch").at(epoch).draws().permutation(held.len());
        order.into_iter().map(|place| held[place]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Failure;

    struct Weighted(Vec<f64>);

    impl Views for Weighted {
        fn n_images(&self) -> usize {
            self.0.len()
        }
        fn side(&self, _: usize) -> usize {
            8
        }
        fn weight(&self, image: usize) -> f64 {
            self.0[image]
        }
        fn fill(&self, _: usize, _: u64, _: usize, _: &mut [f32]) -> Result<(), Failure> {
            Ok(())
        }
    }

    #[test]
    fn without_weights_an_epoch_is_a_permutation_of_its_own() {
        let mix = Mix::of(&Weighted(vec![1.0; 40]));
        let expected = Stream::new(7, "dino epoch").at(3).draws().permutation(40);
        assert_eq!(mix.epoch(7, 3), expected.into_iter().map(|image| (image, 3)).collect::<Vec<_>>());
    }

    #[test]
    fn images_come_as_often_as_their_weights_say_and_never_twice_alike() {
        let weights: Vec<f64> = (0..30).map(|image| [1.0, 0.25, 2.0][image / 10]).collect();
        let mix = Mix::of(&Weighted(weights.clone()));
        assert_eq!(mix.per_epoch(), 10 + 3 + 20);
        let mut came: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for epoch in 0..20 {
            let held = mix.epoch(1, epoch);
            assert_eq!(held.len(), 33);
            held.into_iter().for_each(|(image, pass)| came.entry(image).or_default().push(pass));
        }
        for (image, mut passes) in came {
            passes.sort();
            // 3 of 10 images in 20 epochs are 60 draws: six for each.
            let times = [20, 6, 40][image / 10];
            assert_eq!(passes, (0..times).collect::<Vec<u64>>(), "image {image}");
        }
    }
}
