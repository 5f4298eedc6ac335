//! One node's parameters from its stretch of the text: every mistake in them, each at its place.
//!
//! serde stops at the first mistake. So the part it stumbled over is blanked out (every parameter has a default) and the rest is read again,
//! until nothing is left to complain about.

use std::borrow::Cow;

use ron::error::SpannedError;
use ron::extensions::Extensions;
use serde::de::DeserializeOwned;

use super::outline::{Part, Shape, Value};
use crate::diagnostic::{Mistake, Source, Span, nearest};

/// What could be read of a value.
pub struct Reading<T> {
    /// Nothing where the mistakes leave nothing to read.
    pub value: Option<T>,
    pub mistakes: Vec<Mistake>,
    /// The parts that were taken out to read the rest: they have their defaults in `value`.
    pub left_out: Vec<Span>,
}

/// Reads the value at `value` in `source`.
pub fn read<T: DeserializeOwned>(source: &Source, value: &Value) -> Reading<T> {
    let options = ron::Options::default()
        .with_default_extension(Extensions::IMPLICIT_SOME | Extensions::UNWRAP_NEWTYPES | Extensions::UNWRAP_VARIANT_NEWTYPES);
    let mut text = Cow::Borrowed(&source.text[value.span.start..value.span.end]);
    let (mut mistakes, mut left_out): (Vec<Mistake>, Vec<Span>) = (Vec::new(), Vec::new());
    loop {
        let error = match options.from_str::<T>(&text) {
            Ok(read) => return Reading { value: Some(read), mistakes, left_out },
            Err(error) => error,
        };
        // Blanking keeps the number of letters, so letter positions mean the same in both texts.
        let (line, column) = (error.span.start.line, error.span.start.col);
        let position = value.span.start + letter_to_byte(&source.text[value.span.start..], letter(&text, line, column));
        let (mistake, part) = explain(source, value, &error, position, &left_out);
        // A mistake around what was taken out, or with nothing left to blame, is one that taking it out has made.
        let follows = |m: &Mistake| left_out.iter().any(|b| part.is_none() || (m.span.start <= b.start && b.end <= m.span.end));
        mistakes.extend(mistake.filter(|m| !follows(m)));
        match part {
            Some(part) if !left_out.contains(&part) => {
                text = Cow::Owned(blank(&text, source, value.span.start, part));
                left_out.push(part);
            }
            _ => return Reading { value: None, mistakes, left_out },
        }
    }
}

/// Returns the position, in letters, of a line and column counted from 1.
fn letter(text: &str, line: usize, column: usize) -> usize {
    text.split_inclusive('\n').take(line.saturating_sub(1)).map(|l| l.chars().count()).sum::<usize>() + column.saturating_sub(1)
}

fn letter_to_byte(text: &str, letter: usize) -> usize {
    text.char_indices().nth(letter).map_or(text.len(), |(i, _)| i)
}

/// Puts spaces over a part and the comma after it.
fn blank(text: &str, source: &Source, offset: usize, part: Span) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let first = source.text[offset..part.start].chars().count();
    let length = source.text[part.start..part.end].chars().count();
    letters[first..first + length].fill(' ');
    if let Some(next) = letters[first + length..].iter().position(|c| !c.is_whitespace())
        && letters[first + length + next] == ','
    {
        letters[first + length + next] = ' ';
    }
    letters.into_iter().collect()
}

/// Says what is wrong in the words of the house, and which part to take out to go on.
fn explain(source: &Source, value: &Value, error: &SpannedError, position: usize, blanked: &[Span]) -> (Option<Mistake>, Option<Span>) {
    use ron::Error as E;
    let mut parts: Vec<Part<'_>> = Vec::new();
    value.each_part(&mut |part| parts.push(part));
    parts.retain(|p| !blanked.iter().any(|b| b.start <= p.span.start && p.span.end <= b.end));
    // The innermost part around the place where reading stopped, or the last one before it.
    let around = parts.iter().filter(|p| p.span.contains(position)).min_by_key(|p| p.span.end - p.span.start);
    let before = parts.iter().filter(|p| p.span.end <= position).max_by_key(|p| (p.span.end, p.span.start));
    let blamed = around.or(before);
    let distance = |span: Span| span.start.abs_diff(position);
    let text = |span: Span| &source.text[span.start..span.end];
    match &error.code {
        E::NoSuchStructField { expected, found, outer } => {
            let named = |p: &&Part<'_>| p.name.is_some_and(|(name, _)| name == found);
            let part = parts.iter().filter(named).min_by_key(|p| distance(p.span));
            let span = part.and_then(|p| p.name).map_or(value.span, |(_, span)| span);
            let owner = outer.as_deref().map_or("this".to_string(), |o| format!("`{o}`"));
            let mistake = Mistake::new(span, format!("{owner} has no parameter `{found}`")).help(suggestion(found, expected));
            (Some(mistake), part.map(|p| p.span))
        }
        E::NoSuchEnumVariant { expected, found, .. } => {
            let is_it = |v: &Value| v.name_span().is_some_and(|span| text(span) == found);
            if is_it(value) {
                let span = value.name_span().unwrap_or(value.span);
                return (Some(Mistake::new(span, format!("`{found}` is not a node kind")).help(suggestion(found, expected))), None);
            }
            let part = parts.iter().filter(|p| is_it(p.value)).min_by_key(|p| distance(p.span));
            let span = part.and_then(|p| p.value.name_span()).unwrap_or(value.span);
            let mistake = Mistake::new(span, format!("`{found}` is not known here")).help(suggestion(found, expected));
            (Some(mistake), part.map(|p| p.span))
        }
        // Whoever reads the whole text says it, for map keys too; the one nearest is the one too many.
        E::DuplicateStructField { field, .. } => {
            let named = parts.iter().filter(|p| p.name.is_some_and(|(name, _)| name == *field));
            (None, named.min_by_key(|p| distance(p.span)).map(|p| p.span))
        }
        code => {
            let found = blamed.map_or(value, |p| p.value);
            let span = if blamed.is_some() { found.span } else { value.name_span().unwrap_or(value.span) };
            let name = blamed.and_then(|p| p.name).map(|(name, _)| format!("`{name}`: ")).unwrap_or_default();
            let shown = match &found.shape {
                Shape::Text(_) | Shape::Atom => text(span),
                _ => "",
            };
            let in_parentheses = blamed.is_some_and(|p| source.text[..p.span.start].trim_end().ends_with('('));
            let (expected, help) = plain(code, shown, in_parentheses);
            let found = if shown.is_empty() { String::new() } else { format!(", found `{shown}`") };
            (Some(Mistake::new(span, format!("{name}{expected}{found}")).help(help)), blamed.map(|p| p.span))
        }
    }
}

fn suggestion(found: &str, expected: &[&str]) -> Option<String> {
    match nearest(found, expected.iter().copied()) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None if expected.is_empty() => None,
        None => Some(format!("known here: `{}`", expected.join("`, `"))),
    }
}

/// What was expected instead of `shown`, without `ron`'s own vocabulary, and the way out.
fn plain(code: &ron::Error, shown: &str, in_parentheses: bool) -> (String, Option<String>) {
    use ron::Error as E;
    let is_word = shown.starts_with(char::is_alphabetic);
    let expected = match code {
        E::IntegerOutOfBounds if shown.starts_with('-') => "expected a number that is not negative",
        E::IntegerOutOfBounds => "expected a smaller number",
        // A number was read as far as its point.
        E::ExpectedInteger | E::InvalidIntegerDigit { .. } | E::ExpectedComma => "expected a whole number",
        E::ExpectedFloat | E::FloatUnderscore => "expected a number",
        E::ExpectedString | E::ExpectedStringEnd => "expected a text in quotes",
        E::ExpectedBoolean => "expected `true` or `false`",
        E::ExpectedArray => "expected a list `[..]`",
        E::ExpectedMap => "expected a map `{..}`",
        E::ExpectedIdentifier | E::InvalidIdentifier(_) | E::SuggestRawIdentifier(_) if in_parentheses => "expected `parameter: value`",
        E::ExpectedStructLikeEnd => "expected no further value",
        E::ExpectedIdentifier if shown.starts_with('"') => "expected a name without quotes",
        E::ExpectedIdentifier | E::InvalidIdentifier(_) | E::SuggestRawIdentifier(_) => "expected a name",
        E::ExpectedStructLike | E::ExpectedNamedStructLike(_) => {
            return ("expected parentheses `(..)`".into(), is_word.then(|| format!("write `{shown}(..)`")));
        }
        E::InvalidValueForType { expected, .. } => return (format!("expected {expected}"), None),
        E::ExpectedDifferentLength { expected, .. } => {
            return (format!("expected {}", expected.replace("a tuple of size", "values in parentheses, as many as")), None);
        }
        other => return (other.to_string(), None),
    };
    (expected.to_string(), None)
}
