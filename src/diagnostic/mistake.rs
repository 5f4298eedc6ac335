//! Mistakes in a text that a person wrote: all of them, each with its place, a caret and the way out.
//!
//! ```text
//! error: `features` reads `encodr`, which no node provides
//!   --> pipelines/chest.ron:14:27
//!    |
//! 14 |     inputs: "encodr",
//!    |              ^^^^^^
//! help: did you mean `encoder`?
//! ```

use std::fmt;

use super::words::{count, thousands};

/// A stretch of a text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// Returns whether `position` lies within, its end included.
    pub fn contains(self, position: usize) -> bool {
        self.start <= position && position <= self.end
    }
}

/// A text and the name under which messages show it.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub name: String,
    pub text: String,
}

impl Source {
    /// Returns the line and column (in characters) of a byte position, both counted from 1.
    pub fn place(&self, position: usize) -> (usize, usize) {
        let before = &self.text[..floor_char_boundary(&self.text, position)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }

    /// Returns the byte position of a line and column counted from 1, at most the text's length.
    pub fn position(&self, line: usize, column: usize) -> usize {
        let start = self.text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
        let in_line = self.text[start..].chars().take(column.saturating_sub(1)).map(char::len_utf8).sum::<usize>();
        (start + in_line).min(self.text.len())
    }
}

fn floor_char_boundary(text: &str, position: usize) -> usize {
    let mut at = position.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One mistake: what is wrong, where, and the way out.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    pub message: String,
    pub span: Span,
    pub help: Option<String>,
}

impl Mistake {
    /// Says what is wrong at `span`.
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), span, help: None }
    }

    /// Adds the way out, if one is known.
    pub fn help(mut self, help: Option<impl Into<String>>) -> Self {
        self.help = help.map(Into::into);
        self
    }
}

/// All mistakes of one text, in the order of their places.
#[derive(Debug)]
pub struct Mistakes {
    source: Source,
    list: Vec<Mistake>,
    /// The last line where there are several: how many, of which text.
    sum: fn(usize, &str) -> String,
}

impl Mistakes {
    /// Collects the mistakes of `source`; equal ones are shown once.
    pub fn new(source: Source, mut list: Vec<Mistake>) -> Self {
        list.sort_by_key(|m| (m.span.start, m.span.end));
        list.dedup();
        Self { source, list, sum: |n, name| format!("{} in `{name}`", count(n, "mistake")) }
    }

    /// Collects what a sound text reads and what is not there.
    pub fn missing(source: Source, list: Vec<Mistake>) -> Self {
        Self { sum: |n, name| format!("{} files or folders that `{name}` reads are missing", thousands(n)), ..Self::new(source, list) }
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            show(&self.source, mistake, f)?;
        }
        if self.list.len() > 1 {
            write!(f, "\nerror: {}\n", (self.sum)(self.list.len(), &self.source.name))?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

fn show(source: &Source, mistake: &Mistake, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (line, column) = source.place(mistake.span.start);
    let text = source.text.lines().nth(line - 1).unwrap_or("");
    let margin = " ".repeat(line.to_string().len());
    // A span over several lines is marked up to the end of its first.
    let length = source.text[mistake.span.start..mistake.span.end].lines().next().unwrap_or("").chars().count().max(1);
    writeln!(f, "error: {}", mistake.message)?;
    writeln!(f, "{margin}--> {}:{line}:{column}", source.name)?;
    writeln!(f, "{margin} |")?;
    writeln!(f, "{line} | {text}")?;
    writeln!(f, "{margin} | {}{}", " ".repeat(column - 1), "^".repeat(length))?;
    if let Some(help) = &mistake.help {
        writeln!(f, "help: {help}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source { name: "chest.ron".into(), text: "Pipeline(\n    x: \"encodr\",\n)".into() }
    }

    #[test]
    fn a_mistake_points_at_its_place() {
        let start = source().text.find("encodr").unwrap();
        let mistake = Mistake::new(Span { start, end: start + 6 }, "no node is called `encodr`").help(Some("did you mean `encoder`?"));
        let shown = Mistakes::new(source(), vec![mistake.clone(), mistake]).to_string();
        let expected = "\
error: no node is called `encodr`
 --> chest.ron:2:9
  |
2 |     x: \"encodr\",
  |         ^^^^^^
help: did you mean `encoder`?
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn places_and_positions_are_inverse() {
        let source = Source { name: String::new(), text: "ä(\n  b: 1,\n)".into() };
        for position in [0, 2, 4, 8] {
            let (line, column) = source.place(position);
            assert_eq!(source.position(line, column), position);
        }
    }
}
