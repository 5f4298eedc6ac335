//! Which class each image has. An artefact of its own, so that a corrected label changes nothing that never saw labels.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use super::text;
use crate::data::names::ImageId;
use crate::diagnostic::{Failure, count};

/// The classes in their stable order, and the class of each labelled image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    classes: Vec<String>,
    of: BTreeMap<ImageId, usize>,
}

impl Labels {
    /// Takes the classes in order, and the index of the class of each labelled image.
    pub fn new(classes: Vec<String>, of: BTreeMap<ImageId, usize>) -> Result<Self, Failure> {
        let mut sorted: Vec<&String> = classes.iter().collect();
        sorted.sort();
        if let Some(twice) = sorted.windows(2).find(|w| w[0] == w[1]) {
            return Err(Failure::new(format!("class `{}` is named twice", twice[0])));
        }
        if classes.iter().any(String::is_empty) {
            return Err(Failure::new("a class has an empty name"));
        }
        if let Some((id, class)) = of.iter().find(|(_, class)| **class >= classes.len()) {
            return Err(Failure::new(format!("image `{id}` has class number {class}: expected one of {}", count(classes.len(), "class"))));
        }
        Ok(Self { classes, of })
    }

    /// Makes labels from class names; the classes are sorted by name.
    pub fn from_names(names: BTreeMap<ImageId, String>) -> Result<Self, Failure> {
        let classes: Vec<String> = names.values().collect::<BTreeSet<_>>().into_iter().cloned().collect();
        let of = names.into_iter().map(|(id, name)| (id, classes.partition_point(|c| *c < name))).collect();
        Self::new(classes, of)
    }

    /// Returns the names of the classes, in order.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Returns how many images are labelled.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// Returns whether no image is labelled.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Returns the class index of an image, if it is labelled.
    pub fn class_of(&self, id: &ImageId) -> Option<usize> {
        self.of.get(id).copied()
    }

    /// Returns images and class indices, sorted by image.
    pub fn iter(&self) -> impl Iterator<Item = (&ImageId, usize)> {
        self.of.iter().map(|(id, class)| (id, *class))
    }

    /// Returns the class index of each of `ids`; an image without a label is an error.
    pub fn of_all<'a>(&self, ids: impl IntoIterator<Item = &'a ImageId>) -> Result<Vec<usize>, Failure> {
        ids.into_iter().map(|id| self.class_of(id).ok_or_else(|| Failure::new(format!("image `{id}` has no label")))).collect()
    }

    /// Returns how many images each class has, in class order.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.of.values().for_each(|class| counts[*class] += 1);
        counts
    }

    /// Writes the labels: a line of all classes in order, then CSV with the columns `id,class`.
    pub fn write(&self, out: &mut impl Write) -> Result<(), Failure> {
        let mut out = text::writer(out);
        let mut first = vec!["classes"];
        first.extend(self.classes.iter().map(String::as_str));
        text::line(&mut out, &first)?;
        text::line(&mut out, &["id", "class"])?;
        for (id, class) in &self.of {
            text::line(&mut out, &[id.as_str(), &self.classes[*class]])?;
        }
        text::finish(out)
    }

    /// Reads what [`write`](Self::write) has written; anything else is an error with its line.
    pub fn read(from: impl Read) -> Result<Self, Failure> {
        let mut lines = text::free_lines(from, "labels")?.into_iter();
        let classes: Vec<String> = match lines.next() {
            Some((_, first)) if first.get(0) == Some("classes") => first.iter().skip(1).map(str::to_string).collect(),
            _ => return Err(Failure::new("the labels do not begin with `classes` and their names")),
        };
        match lines.next() {
            Some((_, header)) if header.iter().eq(["id", "class"]) => {}
            _ => return Err(Failure::new("the second line of the labels is not `id,class`")),
        }
        let index: BTreeMap<&str, usize> = classes.iter().enumerate().map(|(i, class)| (class.as_str(), i)).collect();
        let mut of = BTreeMap::new();
        for (at, line) in lines {
            if line.len() != 2 {
                return Err(Failure::new(format!("line {at} of the labels has {}: expected 2", count(line.len(), "field"))));
            }
            let Some(class) = index.get(&line[1]) else {
                return Err(Failure::new(format!(
                    "line {at} of the labels: `{}` is none of the {}",
                    &line[1],
                    count(classes.len(), "class")
                )));
            };
            if of.insert(ImageId::from(&line[0]), *class).is_some() {
                return Err(Failure::new(format!("line {at} of the labels: image `{}` has two labels", &line[0])));
            }
        }
        Self::new(classes, of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_survive_their_text_with_empty_classes_and_odd_names() {
        let classes = vec!["z, \"odd\"".to_string(), "never seen".into(), "a".into()];
        let labels = Labels::new(classes, [("x".into(), 2), ("w y".into(), 0)].into()).unwrap();
        let mut text = Vec::new();
        labels.write(&mut text).unwrap();
        assert_eq!(Labels::read(&text[..]).unwrap(), labels);
        assert_eq!(labels.counts(), [1, 0, 1]);
    }

    #[test]
    fn a_class_that_was_not_announced_is_refused_with_its_line() {
        let text = "classes,a\nid,class\nx,a\ny,b\n";
        assert_eq!(Labels::read(text.as_bytes()).unwrap_err().message(), "line 4 of the labels: `b` is none of the 1 class");
        let twice = "classes,a\nid,class\nx,a\nx,a\n";
        assert_eq!(Labels::read(twice.as_bytes()).unwrap_err().message(), "line 4 of the labels: image `x` has two labels");
    }

    #[test]
    fn classes_made_from_names_are_sorted() {
        let labels = Labels::from_names([("1".into(), "b".into()), ("2".into(), "a".into())].into()).unwrap();
        assert_eq!(labels.classes(), ["a", "b"]);
        assert_eq!(labels.class_of(&"1".into()), Some(1));
    }
}
