//! Which images train, which test, which validate.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use super::text;
use crate::data::names::ImageId;
use crate::diagnostic::{Failure, count};

/// Image ids, sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdList(Vec<ImageId>);

impl IdList {
    /// Sorts the ids; an id that occurs twice is an error.
    pub fn new(mut ids: Vec<ImageId>) -> Result<Self, Failure> {
        ids.sort();
        match ids.windows(2).find(|w| w[0] == w[1]) {
            Some(twice) => Err(Failure::new(format!("image `{}` is listed twice", twice[0]))),
            None => Ok(Self(ids)),
        }
    }

    /// Returns the ids in order.
    pub fn iter(&self) -> std::slice::Iter<'_, ImageId> {
        self.0.iter()
    }

    /// Returns how many ids there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether `id` is here.
    pub fn contains(&self, id: &ImageId) -> bool {
        self.0.binary_search(id).is_ok()
    }

    /// Writes the list: a line `id`, then one id a line.
    pub fn write(&self, out: &mut impl Write) -> Result<(), Failure> {
        let mut out = text::writer(out);
        text::line(&mut out, &["id"])?;
        self.0.iter().try_for_each(|id| text::line(&mut out, &[id.as_str()]))?;
        text::finish(out)
    }

    /// Reads what [`write`](Self::write) has written.
    pub fn read(from: impl Read) -> Result<Self, Failure> {
        Self::new(text::lines(from, "list of ids", &["id"])?.iter().map(|(_, line)| ImageId::from(&line[0])).collect())
    }
}

impl<'a> IntoIterator for &'a IdList {
    type Item = &'a ImageId;
    type IntoIter = std::slice::Iter<'a, ImageId>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// The parts of a split. No image lies in two of them; images in none are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitLists {
    train: IdList,
    test: IdList,
    validation: IdList,
}

impl SplitLists {
    /// Takes the three parts; an image in two of them is an error with counts and an example.
    pub fn new(train: IdList, test: IdList, validation: IdList) -> Result<Self, Failure> {
        for (a, b, names) in
            [(&train, &test, "train and test"), (&train, &validation, "train and validation"), (&test, &validation, "test and validation")]
        {
            let shared: Vec<&ImageId> = a.iter().filter(|id| b.contains(id)).collect();
            if let Some(first) = shared.first() {
                let what = count(shared.len(), "image");
                return Err(Failure::new(format!("{what} in both {names}, `{first}` first")));
            }
        }
        Ok(Self { train, test, validation })
    }

    /// Returns the ids to train on.
    pub fn train(&self) -> &IdList {
        &self.train
    }

    /// Returns the ids to test on.
    pub fn test(&self) -> &IdList {
        &self.test
    }

    /// Returns the ids to validate on; often none.
    pub fn validation(&self) -> &IdList {
        &self.validation
    }

    /// Returns the parts with their names.
    pub fn parts(&self) -> [(&'static str, &IdList); 3] {
        [("train", &self.train), ("test", &self.test), ("validation", &self.validation)]
    }

    /// Writes the split as CSV with the columns `id,part`, sorted by id.
    pub fn write(&self, out: &mut impl Write) -> Result<(), Failure> {
        let mut all: BTreeMap<&ImageId, &str> = BTreeMap::new();
        for (name, ids) in self.parts() {
            all.extend(ids.iter().map(|id| (id, name)));
        }
        let mut out = text::writer(out);
        text::line(&mut out, &["id", "part"])?;
        all.into_iter().try_for_each(|(id, part)| text::line(&mut out, &[id.as_str(), part]))?;
        text::finish(out)
    }

    /// Reads what [`write`](Self::write) has written.
    pub fn read(from: impl Read) -> Result<Self, Failure> {
        let mut parts: [Vec<ImageId>; 3] = Default::default();
        for (at, line) in text::lines(from, "split", &["id", "part"])? {
            let part = match &line[1] {
                "train" => 0,
                "test" => 1,
                "validation" => 2,
                other => {
                    return Err(Failure::new(format!(
                        "line {at} of the split: `{other}` is no part: expected `train`, `test` or `validation`"
                    )));
                }
            };
            parts[part].push(ImageId::from(&line[0]));
        }
        let [train, test, validation] = parts.map(IdList::new);
        Self::new(train?, test?, validation?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ids: &[&str]) -> IdList {
        IdList::new(ids.iter().map(|id| ImageId::from(*id)).collect()).unwrap()
    }

    #[test]
    fn a_split_survives_its_text() {
        let split = SplitLists::new(list(&["c", "a"]), list(&["b"]), list(&[])).unwrap();
        let mut text = Vec::new();
        split.write(&mut text).unwrap();
        assert_eq!(String::from_utf8(text.clone()).unwrap(), "id,part\na,train\nb,test\nc,train\n");
        assert_eq!(SplitLists::read(&text[..]).unwrap(), split);
    }

    #[test]
    fn an_image_in_two_parts_is_refused() {
        let said = SplitLists::new(list(&["a", "b"]), list(&["b"]), list(&[])).unwrap_err();
        assert_eq!(said.message(), "1 image in both train and test, `b` first");
    }
}
