//! The account of an import: what became of every tensor of a file, and what may be otherwise than it should.

use serde::Serialize;

use crate::diagnostic::count;

/// What became of every tensor of a file, and what it lacked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Accounting {
    /// What the file is.
    pub format: String,
    /// Whether its positions have Hugging Face's name: their networks interpolate them in their own way.
    pub from_hugging_face: bool,
    /// Taken under the name they have.
    pub matched: Vec<String>,
    /// Taken under another name: `from -> to`.
    pub renamed: Vec<String>,
    /// Taken in parts: `from -> q, k, v`.
    pub split: Vec<String>,
    /// Taken as one of several parts: `query, key, value -> qkv`.
    pub joined: Vec<String>,
    /// Turned back, and counted above too: an export had exchanged rows and columns.
    pub transposed: Vec<String>,
    /// Left out knowingly: heads, step counters, the student where there is a teacher; and what is in the file that is no tensor.
    pub dropped: Vec<String>,
    /// Missing, and filled with starting values because that was allowed.
    pub started: Vec<String>,
    pub missing: Vec<String>,
    /// Names that a network of this size does not have, or has once while the file gives it twice.
    pub unexpected: Vec<String>,
    pub wrong_shape: Vec<String>,
    /// Neither f32, f16, bf16 nor f64, or not finite.
    pub unusable: Vec<String>,
}

/// What is no mistake where it is: names of tensors, or how they begin up to a dot, in timm's names.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// May be missing, and then starts as in an untrained network of this seed.
    pub missing: Vec<String>,
    pub seed: u64,
    /// May be in the file though the network does not have it.
    pub unexpected: Vec<String>,
}

/// Returns whether a list names a tensor, or something that it is part of.
pub(super) fn names_it(allowed: &[String], name: &str) -> bool {
    allowed.iter().any(|start| name.strip_prefix(start.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

impl Accounting {
    /// Returns one line: `245 tensors matched, 2 renamed, 4 split, 5 dropped`.
    pub fn summary(&self) -> String {
        let counted = [
            (&self.renamed, "renamed"),
            (&self.split, "split"),
            (&self.joined, "joined"),
            (&self.transposed, "transposed"),
            (&self.dropped, "dropped"),
            (&self.started, "missing as allowed"),
        ];
        let counted = counted.iter().filter(|(list, _)| !list.is_empty()).map(|(list, word)| format!(", {} {word}", list.len()));
        format!("{} matched{}", count(self.matched.len(), "tensor"), counted.collect::<String>())
    }

    /// Returns the summary, and what a reader must know of by name: what was left out, and what was missing.
    pub fn notes(&self) -> Vec<String> {
        let named = [(&self.dropped, "left out"), (&self.started, "missing as allowed")];
        let named = named.iter().filter(|(list, _)| !list.is_empty()).map(|(list, word)| format!("{word}: {}", list.join(", ")));
        std::iter::once(format!("{}: {}", self.format, self.summary())).chain(named).collect()
    }

    /// All that is wrong, a line each.
    pub(super) fn wrongs(&self) -> Vec<String> {
        let lists = [
            ("missing", &self.missing),
            ("wrong shape", &self.wrong_shape),
            ("unexpected", &self.unexpected),
            ("unusable", &self.unusable),
        ];
        lists.iter().flat_map(|(word, list)| list.iter().map(move |item| format!("{word}: {item}"))).collect()
    }
}
