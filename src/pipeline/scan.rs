//! From a RON text to its outline, or the first place where its brackets, commas and quotes do not fit.
//!
//! Knows how RON is written, and nothing of what a pipeline may hold.

use super::outline::{Field, Shape, Value};
use crate::diagnostic::{Mistake, Span};

/// Finds the shape of a whole text.
pub fn outline(text: &str) -> Result<Value, Mistake> {
    let mut reader = Reader { text, at: 0, open: Vec::new() };
    reader.skip_blank()?;
    while reader.rest().starts_with("#!") {
        reader.at += reader.rest().find(']').map_or(reader.rest().len(), |i| i + 1);
        reader.skip_blank()?;
    }
    if reader.rest().is_empty() {
        let help = "a pipeline is written `Pipeline(name: \"..\", nodes: { \"images\": Ingest(..) })`";
        return Err(Mistake::new(Span { start: reader.at, end: reader.at }, "the text is empty").help(Some(help)));
    }
    let value = reader.value(0)?;
    reader.skip_blank()?;
    match reader.rest().is_empty() {
        true => Ok(value),
        false => Err(reader.unexpected("the end of the text")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// The places of the brackets that are not closed yet.
    open: Vec<usize>,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn unexpected(&self, expected: &str) -> Mistake {
        let length = self.peek().map_or(0, char::len_utf8);
        let found = self.peek().map_or("the end of the text".to_string(), |c| format!("`{c}`"));
        let mistake = Mistake::new(Span { start: self.at, end: self.at + length }, format!("expected {expected}, found {found}"));
        mistake.help(match self.peek() {
            Some('=') => Some("parameters are written `name: value`".to_string()),
            // What cannot stand here may well stand one bracket further out.
            None | Some(':' | ')' | ']' | '}') => self.still_open(),
            _ => None,
        })
    }

    /// Says which bracket waits for its end, if it stands in an earlier line.
    fn still_open(&self) -> Option<String> {
        let open = *self.open.last()?;
        let line = self.text[..open].matches('\n').count() + 1;
        self.text[open..self.at].contains('\n').then(|| format!("the `{}` in line {line} is still open", &self.text[open..=open]))
    }

    fn skip_blank(&mut self) -> Result<(), Mistake> {
        loop {
            self.at += self.rest().len() - self.rest().trim_start().len();
            if self.rest().starts_with("//") {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else if self.rest().starts_with("/*") {
                let start = self.at;
                let mut depth = 0;
                loop {
                    if self.rest().starts_with("/*") {
                        depth += 1;
                        self.at += 2;
                    } else if self.rest().starts_with("*/") {
                        depth -= 1;
                        self.at += 2;
                        if depth == 0 {
                            break;
                        }
                    } else if let Some(c) = self.peek() {
                        self.at += c.len_utf8();
                    } else {
                        return Err(Mistake::new(Span { start, end: start + 2 }, "this comment is never closed"));
                    }
                }
            } else {
                return Ok(());
            }
        }
    }

    fn word(&mut self) -> Option<Span> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = self.rest().find(|c| !is_word(c)).unwrap_or(self.rest().len());
        let first_is_letter = self.peek().is_some_and(|c| c.is_alphabetic() || c == '_');
        (length > 0 && first_is_letter).then(|| {
            let span = Span { start: self.at, end: self.at + length };
            self.at += length;
            span
        })
    }

    fn value(&mut self, depth: usize) -> Result<Value, Mistake> {
        if depth > 100 {
            return Err(Mistake::new(Span { start: self.at, end: self.at + 1 }, "values are nested more than 100 deep"));
        }
        let start = self.at;
        let shape = match self.peek() {
            Some('"') => Shape::Text(self.text_literal()?),
            Some('r') if self.rest()[1..].starts_with(['"', '#']) => Shape::Text(self.raw_text()?),
            Some('[') => {
                self.at += 1;
                Shape::List(self.items(']', depth)?)
            }
            Some('{') => {
                self.at += 1;
                Shape::Map(self.pairs(depth)?)
            }
            Some('(') => self.parenthesised(None, depth)?,
            Some('\'') => {
                let length = self.rest()[1..].find('\'').map_or(self.rest().len(), |i| i + 2);
                self.at += length;
                Shape::Atom
            }
            _ => match self.word() {
                Some(name) => {
                    let after = self.at;
                    self.skip_blank()?;
                    if self.peek() == Some('(') {
                        self.parenthesised(Some(name), depth)?
                    } else {
                        self.at = after;
                        Shape::Atom
                    }
                }
                None => {
                    let is_number = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
                    let length = self.rest().find(|c| !is_number(c)).unwrap_or(self.rest().len());
                    if length == 0 {
                        return Err(self.unexpected("a value"));
                    }
                    self.at += length;
                    Shape::Atom
                }
            },
        };
        Ok(Value { span: Span { start, end: self.at }, shape })
    }

    fn text_literal(&mut self) -> Result<String, Mistake> {
        let start = self.at;
        let mut out = String::new();
        self.at += 1;
        while let Some(length) = self.rest().find(['"', '\\']) {
            out.push_str(&self.rest()[..length]);
            self.at += length;
            let closes = self.rest().starts_with('"');
            self.at += 1;
            if closes {
                return Ok(out);
            }
            // Escapes other than quote and backslash are left to `ron`; names do not hold them.
            let Some(escaped) = self.peek() else { break };
            out.push(escaped);
            self.at += escaped.len_utf8();
        }
        Err(Mistake::new(Span { start, end: start + 1 }, "this text is never closed"))
    }

    fn raw_text(&mut self) -> Result<String, Mistake> {
        let start = self.at;
        let hashes = self.rest()[1..].chars().take_while(|c| *c == '#').count();
        let open = self.at + 1 + hashes;
        let end = format!("\"{}", "#".repeat(hashes));
        let unclosed = || Mistake::new(Span { start, end: start + 1 }, "this text is never closed");
        let body = self.text[open..].strip_prefix('"').ok_or_else(unclosed)?;
        let length = body.find(&end).ok_or_else(unclosed)?;
        self.at = open + 1 + length + end.len();
        Ok(body[..length].to_string())
    }

    /// Reads items up to `close`, commas between them.
    fn items(&mut self, close: char, depth: usize) -> Result<Vec<Value>, Mistake> {
        self.open.push(self.at - 1);
        let mut items = Vec::new();
        while !self.closes(close)? {
            let value = self.value(depth + 1)?;
            self.separator(close, &value)?;
            items.push(value);
        }
        Ok(items)
    }

    fn pairs(&mut self, depth: usize) -> Result<Vec<(Value, Value)>, Mistake> {
        self.open.push(self.at - 1);
        let mut pairs = Vec::new();
        while !self.closes('}')? {
            let key = self.value(depth + 1)?;
            self.colon()?;
            let value = self.value(depth + 1)?;
            self.separator('}', &value)?;
            pairs.push((key, value));
        }
        Ok(pairs)
    }

    fn parenthesised(&mut self, name: Option<Span>, depth: usize) -> Result<Shape, Mistake> {
        self.at += 1;
        let open = self.at;
        if !self.starts_with_field()? {
            return Ok(Shape::Tuple { name, open, items: self.items(')', depth)? });
        }
        self.open.push(open - 1);
        let mut fields = Vec::new();
        while !self.closes(')')? {
            let Some(name_span) = self.word() else { return Err(self.unexpected("a parameter's name or `)`")) };
            self.colon()?;
            let value = self.value(depth + 1)?;
            self.separator(')', &value)?;
            fields.push(Field { name: self.text[name_span.start..name_span.end].to_string(), name_span, value });
        }
        Ok(Shape::Struct { name, open, fields })
    }

    /// Whether what follows the parenthesis is `word :`.
    fn starts_with_field(&mut self) -> Result<bool, Mistake> {
        let start = self.at;
        self.skip_blank()?;
        let is_field = self.word().is_some() && {
            self.skip_blank()?;
            self.peek() == Some(':')
        };
        self.at = start;
        Ok(is_field)
    }

    fn closes(&mut self, close: char) -> Result<bool, Mistake> {
        self.skip_blank()?;
        let closes = self.peek() == Some(close);
        if closes {
            self.at += 1;
            self.open.pop();
        }
        Ok(closes)
    }

    fn colon(&mut self) -> Result<(), Mistake> {
        self.skip_blank()?;
        if self.peek() != Some(':') {
            return Err(self.unexpected("`:`"));
        }
        self.at += 1;
        self.skip_blank()
    }

    fn separator(&mut self, close: char, after: &Value) -> Result<(), Mistake> {
        self.skip_blank()?;
        match self.peek() {
            Some(',') => self.at += 1,
            Some(c) if c == close => {}
            found => return Err(self.no_separator(close, after.span, found)),
        }
        Ok(())
    }

    /// Points at where the comma or the quote was forgotten, which may be lines before the place where reading stopped.
    fn no_separator(&self, close: char, after: Span, found: Option<char>) -> Mistake {
        let lines = |from: usize, to: usize| self.text[from..to].contains('\n');
        let starts_a_value = |c: char| c.is_alphanumeric() || "\"[({'".contains(c);
        if self.text[after.start..].starts_with('"') && lines(after.start, after.end) {
            return Mistake::new(after, "this text goes over several lines").help(Some("is its closing quote missing?"));
        }
        if found.is_some_and(starts_a_value) && lines(after.end, self.at) {
            return Mistake::new(Span { start: after.end, end: after.end }, format!("expected `,` or `{close}` here"));
        }
        self.unexpected(&format!("`,` or `{close}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_fields_are_found_through_wrappers_comments_and_strings() {
        let text = r##"Pipeline(nodes: { "a, (b": Ingest(Folder(/* ) */ root: r#"x"y"#, n: [1, -2.5])) }) // end"##;
        let value = outline(text).unwrap();
        let (found, depth) = value.follow(&["nodes", "a, (b", "n", "1"]);
        assert_eq!((&text[found.span.start..found.span.end], depth), ("-2.5", 4));
        let (root, _) = value.follow(&["nodes", "a, (b", "root"]);
        assert!(matches!(&root.shape, Shape::Text(t) if t == "x\"y"));
        let (_, depth) = value.follow(&["nodes", "a, (b", "missing"]);
        assert_eq!(depth, 2);
    }

    #[test]
    fn broken_texts_are_refused_with_what_was_expected() {
        for (text, said) in [
            ("P(a: 1", "expected `,` or `)`, found the end of the text"),
            ("P(a: 1 b: 2)", "expected `,` or `)`, found `b`"),
            ("P(a: )", "expected a value, found `)`"),
            ("P(a: \"x)", "this text is never closed"),
            ("P(a: 1) x", "expected the end of the text, found `x`"),
            ("P(a: 1\n b: 2)", "expected `,` or `)` here"),
            ("P(a: \"1,\n b: \"2\")", "this text goes over several lines"),
            (" // P()", "the text is empty"),
            ("/* P()", "this comment is never closed"),
            ("{ \"a\" 1 }", "expected `:`, found `1`"),
        ] {
            assert_eq!(outline(text).unwrap_err().message, said);
        }
    }

    #[test]
    fn an_open_bracket_of_an_earlier_line_is_named() {
        assert_eq!(outline("P(a: [1, Q(2),\nb: 3)").unwrap_err().help.unwrap(), "the `[` in line 1 is still open");
        assert_eq!(outline("P(\na: (1),\n").unwrap_err().help.unwrap(), "the `(` in line 1 is still open");
    }
}
