//! Where a parameter's value comes from, as a person writes it: another node, or a path; and values that do not count.
//!
//! These are written as nothing: a key holds the digest of what they lead to, never the name, so that renaming a node
//! or moving the data changes no key.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// The name of another node, or of one of its outputs: `"images"`, `"split.train"`. Empty where none was given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
#[serde(transparent)]
pub struct Ref(pub String);

/// A file or folder, relative to the pipeline's own. Empty where none was given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
#[serde(transparent)]
pub struct DataPath(pub String);

macro_rules! written_as_nothing {
    ($($name:ident)+) => {$(
        impl $name {
            /// Returns the text as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns whether nothing was given.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_string())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_unit()
            }
        }
    )+};
}

written_as_nothing!(Ref DataPath);

/// A value that decides how a node is run or shown, and nothing of what it makes.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Aside<T>(pub T);

impl<T> Serialize for Aside<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// Returns `value` without what is written as nothing, at any depth.
pub fn without_nothings(mut value: serde_json::Value) -> serde_json::Value {
    strip(&mut value);
    value
}

fn strip(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Object(map) => map.retain(|_, v| {
            strip(v);
            !v.is_null() && !all_nothing(v)
        }),
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// A list of nothings but for its length: the roles of the inputs say how many there are.
fn all_nothing(value: &serde_json::Value) -> bool {
    value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(serde_json::Value::is_null))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_leave_no_trace() {
        crate::params! {
            pub struct Study { pub images: Ref = Ref::default(), pub root: DataPath = DataPath::default(), pub sweeps: Vec<Ref> = vec![], pub k: usize = 1, pub show: Aside<bool> = Aside(false) }
        }
        let study: Study = ron::from_str(r#"(images: "a", root: "b", sweeps: ["c", "d"], k: 2, show: true)"#).unwrap();
        let canonical = without_nothings(serde_json::to_value(&study).unwrap());
        assert_eq!(canonical.to_string(), r#"{"k":2}"#);
    }
}
