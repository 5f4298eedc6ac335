//! The shape of a RON text: what lies where. Values themselves are read by the `ron` crate.
//!
//! A pipeline's mistakes are shown at their places and all at once, which needs the place of every field; serde forgets them.

use crate::diagnostic::Span;

/// A value's place and what lies inside it.
#[derive(Clone, Debug)]
pub struct Value {
    pub span: Span,
    pub shape: Shape,
}

/// What a value looks like.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A string, without its quotes and escapes.
    Text(String),
    /// A number, a character, or a bare word.
    Atom,
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
    /// `Name(a, b)` or `(a, b)`; `open` is the place just after the parenthesis.
    Tuple {
        name: Option<Span>,
        open: usize,
        items: Vec<Value>,
    },
    /// `Name(field: a)` or `(field: a)`.
    Struct {
        name: Option<Span>,
        open: usize,
        fields: Vec<Field>,
    },
}

/// A field of a struct.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub name_span: Span,
    pub value: Value,
}

impl Value {
    /// Returns the struct inside, looking through wrappers such as `Ingest(BoneMarrow(..))`.
    pub fn unwrapped(&self) -> &Value {
        match &self.shape {
            Shape::Tuple { items, .. } if items.len() == 1 => items[0].unwrapped(),
            _ => self,
        }
    }

    /// Follows a path of field names and list positions as far as it exists.
    ///
    /// Returns the last value reached and how many parts of the path led there.
    pub fn follow(&self, path: &[&str]) -> (&Value, usize) {
        let Some(part) = path.first() else { return (self, 0) };
        let inner = self.unwrapped();
        let next = match &inner.shape {
            Shape::Struct { fields, .. } => fields.iter().find(|f| f.name == *part).map(|f| &f.value),
            Shape::List(items) => part.parse().ok().and_then(|i: usize| items.get(i)),
            Shape::Map(pairs) => pairs.iter().find(|(key, _)| matches!(&key.shape, Shape::Text(t) if t == part)).map(|(_, v)| v),
            _ => None,
        };
        match next {
            Some(value) => {
                let (last, depth) = value.follow(&path[1..]);
                (last, depth + 1)
            }
            None => (inner, 0),
        }
    }

    /// Calls `visit` on every field and list item inside, outer ones first.
    pub fn each_part<'a>(&'a self, visit: &mut dyn FnMut(Part<'a>)) {
        match &self.shape {
            Shape::Text(_) | Shape::Atom => {}
            Shape::List(items) | Shape::Tuple { items, .. } => items.iter().for_each(|item| {
                visit(Part { name: None, span: item.span, value: item });
                item.each_part(visit);
            }),
            Shape::Map(pairs) => pairs.iter().for_each(|(key, value)| {
                visit(Part { name: None, span: Span { start: key.span.start, end: value.span.end }, value });
                value.each_part(visit);
            }),
            Shape::Struct { fields, .. } => fields.iter().for_each(|field| {
                let span = Span { start: field.name_span.start, end: field.value.span.end };
                visit(Part { name: Some((&field.name, field.name_span)), span, value: &field.value });
                field.value.each_part(visit);
            }),
        }
    }

    /// Returns the place of the name of a struct, tuple or bare word.
    pub fn name_span(&self) -> Option<Span> {
        match &self.shape {
            Shape::Tuple { name, .. } | Shape::Struct { name, .. } => *name,
            Shape::Atom => Some(self.span),
            _ => None,
        }
    }
}

/// Something that can be taken out of a value whole: a field with its name, or an item of a list.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub name: Option<(&'a str, Span)>,
    pub span: Span,
    pub value: &'a Value,
}
