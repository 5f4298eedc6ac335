//! What ties images together: groups (patients, lesions, pictures) that become one when a pair of images belongs to both.
//!
//! Unaware of why two images belong together: a publisher's list of duplicates, or pictures that look alike.

use std::collections::HashMap;

use super::names::ImageId;

/// The group of each image, with groups joined as pairs demand.
pub struct Groups {
    of: HashMap<ImageId, String>,
    /// A group that became part of another one, which has the smaller name: so names do not depend on the order of pairs.
    within: HashMap<String, String>,
}

impl Groups {
    /// Takes the group of each image.
    pub fn new(of: HashMap<ImageId, String>) -> Self {
        Self { of, within: HashMap::new() }
    }

    /// Makes the groups of two images one. An image without a group changes nothing.
    pub fn join(&mut self, a: &ImageId, b: &ImageId) {
        let (Some(a), Some(b)) = (self.name(a), self.name(b)) else { return };
        if a != b {
            self.within.insert(a.clone().max(b.clone()), a.min(b));
        }
    }

    /// Returns the name of an image's group: the smallest of those that were joined.
    pub fn name(&self, id: &ImageId) -> Option<String> {
        let mut name = self.of.get(id)?;
        while let Some(outer) = self.within.get(name) {
            name = outer;
        }
        Some(name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_share_a_pair_are_one_whatever_the_order() {
        let pairs = [("a", "b"), ("c", "d"), ("b", "c")];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let of = ["a", "b", "c", "d", "e"].map(|name| (ImageId::from(name), format!("patient {name}")));
            let mut groups = Groups::new(of.into());
            order.iter().for_each(|i| groups.join(&pairs[*i].0.into(), &pairs[*i].1.into()));
            let names = ["a", "b", "c", "d", "e"].map(|id| groups.name(&id.into()).unwrap());
            assert_eq!(names, ["patient a", "patient a", "patient a", "patient a", "patient e"]);
        }
        assert_eq!(Groups::new(HashMap::new()).name(&"x".into()), None);
    }
}
