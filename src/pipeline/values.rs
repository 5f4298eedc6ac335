//! One node's parameters from its stretch of the text: every mistake in them, each at its place.
//!
//! serde stops at the first mistake. So the part it stumbled over is blanked out (every parameter has a default) and the rest is read again,
//! until nothing is left to complain about.

use ron::error::SpannedError;
use ron::extensions::Extensions;
use serde::de::DeserializeOwned;

use super::outline::{Part, Shape, Value};
use crate::diagnostic::{Mistake, Source, Span, nearest};

/// Reads the value at `value` in `source`.
pub fn read<T: DeserializeOwned>(source: &Source, value: &Value) -> Result<T, Vec<Mistake>> {
    let options = ron::Options::default()
        .with_default_extension(Extensions::IMPLICIT_SOME | Extensions::UNWRAP_NEWTYPES | Extensions::UNWRAP_VARIANT_NEWTYPES);
    let mut letters: Vec<char> = source.text[value.span.start..value.span.end].chars().collect();
    let mut mistakes = Vec::new();
    let mut blanked: Vec<Span> = Vec::new();
    loop {
        let text: String = letters.iter().collect();
        let error = match options.from_str::<T>(&text) {
            Ok(read) if mistakes.is_empty() => return Ok(read),
            Ok(_) => return Err(mistakes),
            Err(error) => error,
        };
        // Blanking keeps the number of letters, so letter positions mean the same in both texts.
        let (line, column) = (error.span.start.line, error.span.start.col);
        let position = value.span.start + letter_to_byte(&source.text[value.span.start..], letter(&text, line, column));
        let (mistake, part) = explain(source, value, &error, position, &blanked);
        let follows_from_another = blanked.iter().any(|b| mistake.span.start <= b.start && b.end <= mistake.span.end);
        if !follows_from_another || mistakes.is_empty() {
            mistakes.push(mistake);
        }
        match part {
            Some(part) if !blanked.contains(&part) => {
                blank(&mut letters, source, value.span.start, part);
                blanked.push(part);
            }
            _ => return Err(mistakes),
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
fn blank(letters: &mut [char], source: &Source, offset: usize, part: Span) {
    let first = source.text[offset..part.start].chars().count();
    let length = source.text[part.start..part.end].chars().count();
    letters[first..first + length].fill(' ');
    if let Some(next) = letters[first + length..].iter().position(|c| !c.is_whitespace())
        && letters[first + length + next] == ','
    {
        letters[first + length + next] = ' ';
    }
}

/// Says what is wrong in the words of the house, and which part to take out to go on.
fn explain(source: &Source, value: &Value, error: &SpannedError, position: usize, blanked: &[Span]) -> (Mistake, Option<Span>) {
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
            (Mistake::new(span, format!("{owner} has no parameter `{found}`")).help(suggestion(found, expected)), part.map(|p| p.span))
        }
        E::NoSuchEnumVariant { expected, found, .. } => {
            let is_it = |v: &Value| v.name_span().is_some_and(|span| text(span) == found);
            if is_it(value) {
                let span = value.name_span().unwrap_or(value.span);
                return (Mistake::new(span, format!("`{found}` is not a node kind")).help(suggestion(found, expected)), None);
            }
            let part = parts.iter().filter(|p| is_it(p.value)).min_by_key(|p| distance(p.span));
            let span = part.and_then(|p| p.value.name_span()).unwrap_or(value.span);
            (Mistake::new(span, format!("`{found}` is not known here")).help(suggestion(found, expected)), part.map(|p| p.span))
        }
        code => {
            let span = blamed.map_or(value.name_span().unwrap_or(value.span), |p| p.value.span);
            let name = blamed.and_then(|p| p.name).map(|(name, _)| format!("`{name}`: ")).unwrap_or_default();
            let shown = match &blamed.map(|p| &p.value.shape) {
                Some(Shape::Text(_) | Shape::Atom) => format!(", found `{}`", text(span)),
                _ => String::new(),
            };
            (Mistake::new(span, format!("{name}{}", plain(code, &shown))), blamed.map(|p| p.span))
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

/// What was expected, without `ron`'s own vocabulary.
fn plain(code: &ron::Error, shown: &str) -> String {
    use ron::Error as E;
    match code {
        E::ExpectedInteger | E::InvalidIntegerDigit { .. } => format!("expected a whole number{shown}"),
        E::IntegerOutOfBounds => format!("expected a number that fits{shown}"),
        E::ExpectedFloat | E::FloatUnderscore => format!("expected a number{shown}"),
        E::ExpectedString | E::ExpectedStringEnd => format!("expected a text in quotes{shown}"),
        E::ExpectedBoolean => format!("expected `true` or `false`{shown}"),
        E::ExpectedArray => format!("expected a list `[..]`{shown}"),
        E::ExpectedMap => format!("expected a map `{{..}}`{shown}"),
        E::ExpectedIdentifier => format!("expected a name{shown}"),
        E::InvalidValueForType { expected, found } => format!("expected {expected}, found {found}"),
        E::ExpectedStructLike | E::ExpectedNamedStructLike(_) | E::ExpectedStructLikeEnd => {
            format!("expected parameters in parentheses{shown}")
        }
        other => other.to_string(),
    }
}
