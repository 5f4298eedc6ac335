//! `matrix: {"dino.epochs": [5, 10]}`: a pipeline for each combination of values, read as if each value had been written.

use super::edit::{Setting, apply};
use super::outline::{Shape, Value};
use super::scan::outline;
use crate::diagnostic::{Mistake, Mistakes, Source, Span};

/// A parameter and the values it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub path: String,
    /// As written.
    pub values: Vec<String>,
    /// Where the path stands in the text; nowhere for one from the command line.
    span: Option<Span>,
}

/// A combination: its value on each axis, and the text with these values in it.
pub struct Combination {
    pub values: Vec<String>,
    pub source: Source,
}

/// How many combinations are still a study and not a slip of the finger.
const MOST: usize = 1000;

impl Axis {
    /// Makes an axis of a setting whose value is a list.
    pub fn of(setting: &Setting) -> Option<Self> {
        let value = outline(&setting.value).ok()?;
        let Shape::List(items) = &value.shape else { return None };
        let values: Vec<String> = items.iter().map(|item| setting.value[item.span.start..item.span.end].to_string()).collect();
        (!values.is_empty()).then(|| Self { path: setting.path.join("."), values, span: None })
    }
}

/// Returns the axes that the text, of this outline, declares; none where it has no `matrix`.
pub fn axes(source: &Source, whole: &Value) -> Result<Vec<Axis>, Mistakes> {
    let Shape::Struct { fields, .. } = &whole.shape else { return Ok(Vec::new()) };
    let Some(matrix) = fields.iter().find(|field| field.name == "matrix") else { return Ok(Vec::new()) };
    let Shape::Map(pairs) = &matrix.value.shape else {
        let mistake = Mistake::new(matrix.value.span, "expected a map `{ \"node.parameter\": [value, value], .. }`");
        return Err(Mistakes::new(source.clone(), vec![mistake]));
    };
    let (mut axes, mut mistakes) = (Vec::new(), Vec::new());
    for (key, value) in pairs {
        match (&key.shape, &value.shape) {
            (Shape::Text(path), Shape::List(items)) if !items.is_empty() => {
                let values = items.iter().map(|item| source.text[item.span.start..item.span.end].to_string()).collect();
                let span = Some(Span { start: key.span.start + 1, end: key.span.end - 1 });
                axes.push(Axis { path: path.clone(), values, span });
            }
            (Shape::Text(_), _) => mistakes.push(Mistake::new(value.span, "expected a list of at least one value")),
            _ => mistakes.push(Mistake::new(key.span, "expected a parameter's path in quotes: `\"dino.epochs\"`")),
        }
    }
    let n: usize = axes.iter().map(|axis: &Axis| axis.values.len()).fold(1, usize::saturating_mul);
    if n > MOST {
        mistakes.push(Mistake::new(matrix.name_span, format!("the matrix has {n} combinations: expected at most {MOST}")));
    }
    if mistakes.is_empty() { Ok(axes) } else { Err(Mistakes::new(source.clone(), mistakes)) }
}

/// Returns every combination, the last axis changing fastest.
pub fn combinations(source: &Source, axes: &[Axis]) -> Result<Vec<Combination>, Mistakes> {
    let mut all: Vec<Vec<String>> = vec![Vec::new()];
    for axis in axes {
        let longer =
            |values: &Vec<String>| axis.values.iter().map(|value| [values.clone(), vec![value.clone()]].concat()).collect::<Vec<_>>();
        all = all.iter().flat_map(longer).collect();
    }
    let mut combinations = Vec::new();
    for values in all {
        let mut text = source.clone();
        for (axis, value) in axes.iter().zip(&values) {
            let wrong = |said: String| {
                let span = axis.span.unwrap_or(Span { start: 0, end: 0 });
                let said = said.strip_prefix(&format!("--set {}: ", axis.path)).unwrap_or(&said).to_string();
                let (message, help) = said.split_once("\nhelp: ").map_or((said.as_str(), None), |(message, help)| (message, Some(help)));
                Mistakes::new(source.clone(), vec![Mistake::new(span, message).help(help)])
            };
            let setting: Setting = format!("{}={value}", axis.path).parse().map_err(wrong)?;
            text = apply(text, &[setting]).map_err(wrong)?;
        }
        let said: Vec<String> = axes.iter().zip(&values).map(|(axis, value)| format!("{}={value}", axis.path)).collect();
        text.name = format!("{} (with {})", source.name, said.join(", "));
        combinations.push(Combination { values, source: text });
    }
    Ok(combinations)
}

/// Returns the axes' names for labels: the parameter alone where that says enough.
pub fn short_names(axes: &[Axis]) -> Vec<String> {
    let last = |axis: &Axis| axis.path.rsplit('.').next().unwrap_or_default().to_string();
    let alone = |axis: &Axis| axes.iter().filter(|other| last(other) == last(axis)).count() == 1;
    axes.iter().map(|axis| if alone(axis) { last(axis) } else { axis.path.clone() }).collect()
}
