//! How often each image of a pool comes in an epoch of training.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use super::images::ImageTable;
use super::text;
use crate::data::names::ImageId;
use crate::diagnostic::Failure;

/// A weight for each image: 1 once in every epoch, 0.25 once in four, 2 twice in each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolWeights(BTreeMap<ImageId, f64>);

impl PoolWeights {
    /// The largest weight that may be asked for.
    pub const MOST: f64 = 100.0;

    /// Takes the weight of each image.
    pub fn new(of: BTreeMap<ImageId, f64>) -> Result<Self, Failure> {
        match of.iter().find(|(_, weight)| !(**weight > 0.0 && **weight <= Self::MOST)) {
            Some((id, weight)) => {
                Err(Failure::new(format!("image `{id}` has the weight {weight}: expected more than 0 and at most {}", Self::MOST)))
            }
            None => Ok(Self(of)),
        }
    }

    /// Returns the weights of the images of a table, in its order; one that has none is an error.
    pub fn of(&self, images: &ImageTable) -> Result<Vec<f64>, Failure> {
        let weight = |id: &ImageId| self.0.get(id).copied().ok_or_else(|| Failure::new(format!("image `{id}` has no weight")));
        images.rows().iter().map(|row| weight(&row.id)).collect()
    }

    /// Writes the weights as CSV with the columns `id,weight`, sorted by id.
    pub fn write(&self, out: &mut impl Write) -> Result<(), Failure> {
        let mut out = text::writer(out);
        text::line(&mut out, &["id", "weight"])?;
        self.0.iter().try_for_each(|(id, weight)| text::line(&mut out, &[id.as_str(), &weight.to_string()]))?;
        text::finish(out)
    }

    /// Reads what [`write`](Self::write) has written; anything else is an error with its line.
    pub fn read(from: impl Read) -> Result<Self, Failure> {
        let mut of = BTreeMap::new();
        for (at, line) in text::lines(from, "pool weights", &["id", "weight"])? {
            let weight =
                line[1].parse().map_err(|_| Failure::new(format!("line {at} of the pool weights: `{}` is no weight", &line[1])))?;
            if of.insert(ImageId::from(&line[0]), weight).is_some() {
                return Err(Failure::new(format!("line {at} of the pool weights: image `{}` has two weights", &line[0])));
            }
        }
        Self::new(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_survive_their_text_and_damaged_ones_are_refused() {
        let weights = PoolWeights::new([("a".into(), 1.0), ("b".into(), 0.1)].into()).unwrap();
        let mut text = Vec::new();
        weights.write(&mut text).unwrap();
        assert_eq!(PoolWeights::read(&text[..]).unwrap(), weights);
        let said = |text: &str| PoolWeights::read(text.as_bytes()).unwrap_err().message().to_string();
        assert_eq!(said("id,weight\na,heavy\n"), "line 2 of the pool weights: `heavy` is no weight");
        assert_eq!(said("id,weight\na,NaN\n"), "image `a` has the weight NaN: expected more than 0 and at most 100");
        assert_eq!(said("id,weight\na,1\na,1\n"), "line 3 of the pool weights: image `a` has two weights");
    }
}
