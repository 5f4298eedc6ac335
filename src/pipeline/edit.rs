//! `--set NODE.PATH=RON`: an edit of the pipeline's text, so that what follows is one way for both.

use super::outline::{Shape, Value};
use super::scan::outline;
use crate::diagnostic::{Mistakes, Source, nearest};

/// One edit: `dino.epochs=3`, `images.root="../data"`, `seed=2`.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub(super) path: Vec<String>,
    pub(super) value: String,
}

impl std::str::FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, value) = text.split_once('=').ok_or_else(|| format!("expected `NODE.PARAMETER=VALUE`, found `{text}`"))?;
        let path: Vec<String> = path.trim().split('.').map(str::to_string).collect();
        if path.iter().any(String::is_empty) || value.trim().is_empty() {
            return Err(format!("expected `NODE.PARAMETER=VALUE`, found `{text}`"));
        }
        if let Err(mistake) = outline(value) {
            let found = mistake.message;
            let help = match value.contains(['(', '[', '{', '"']) {
                true => String::new(),
                false => format!("\nhelp: texts need quotes that the shell leaves: --set '{}=\"{value}\"'", path.join(".")),
            };
            return Err(format!("`{value}` is not a value: {found}{help}"));
        }
        Ok(Self { path, value: value.trim().to_string() })
    }
}

/// Returns the text with every setting in it.
///
/// # Errors
/// Where a setting names a node or a place that does not exist. A text that cannot be read at all is left for the reader to explain.
pub fn apply(mut source: Source, settings: &[Setting]) -> Result<Source, String> {
    for setting in settings {
        source.text = apply_one(&source, setting)?;
    }
    if !settings.is_empty() && !source.name.ends_with("(with --set)") {
        source.name = format!("{} (with --set)", source.name);
    }
    Ok(source)
}

fn apply_one(source: &Source, setting: &Setting) -> Result<String, String> {
    let whole = outline(&source.text).map_err(|mistake| Mistakes::new(source.clone(), vec![mistake]).to_string())?;
    let path: Vec<&str> = setting.path.iter().map(String::as_str).collect();
    let full: Vec<&str> = match path[..] {
        // The pipeline's own fields have no node before them.
        ["name" | "seed"] => path,
        _ => std::iter::once("nodes").chain(path).collect(),
    };
    let (found, depth) = whole.follow(&full);
    if depth == full.len() {
        let mut text = source.text.clone();
        text.replace_range(found.span.start..found.span.end, &setting.value);
        return Ok(text);
    }
    let said = setting.path.join(".");
    if depth < 2 && full[0] == "nodes" {
        let names = node_names(&whole);
        let way_out = match nearest(full[1], names.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the nodes are `{}`", names.join("`, `")),
        };
        return Err(format!("--set {said}: no node is called `{}`\nhelp: {way_out}", full[1]));
    }
    // A parameter that is not written yet goes to the front of the parentheses it belongs in.
    let open = match &found.shape {
        Shape::Struct { open, .. } => *open,
        Shape::Tuple { open, items, .. } if items.is_empty() => *open,
        _ => return Err(format!("--set {said}: `{}` has no parameter of that name", full[..depth].join("."))),
    };
    if depth + 1 != full.len() {
        let inner = full[depth + 1..].iter().rev().fold(setting.value.clone(), |inner, name| format!("({name}: {inner})"));
        let outer = full[1..=depth].join(".");
        return Err(format!(
            "--set {said}: `{}` is not written in the pipeline\nhelp: set `{outer}` as a whole: --set '{outer}={inner}'",
            full[depth]
        ));
    }
    let mut text = source.text.clone();
    text.insert_str(open, &format!("{}: {}, ", full[depth], setting.value));
    Ok(text)
}

fn node_names(whole: &Value) -> Vec<&str> {
    let (nodes, _) = whole.follow(&["nodes"]);
    match &nodes.shape {
        Shape::Map(pairs) => {
            pairs.iter().filter_map(|(key, _)| if let Shape::Text(t) = &key.shape { Some(t.as_str()) } else { None }).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"Pipeline(name: "p", seed: 1, nodes: { "sweep": Sweep(classifiers: [Knn(k: 10), Svm()], n: 3) })"#;

    fn set(setting: &str) -> Result<String, String> {
        apply(Source { name: "p.ron".into(), text: TEXT.into() }, &[setting.parse()?]).map(|s| s.text)
    }

    #[test]
    fn a_setting_replaces_what_is_written_and_adds_what_is_not() {
        assert_eq!(set("sweep.n=5").unwrap(), TEXT.replace("n: 3", "n: 5"));
        assert_eq!(set("sweep.classifiers.0.k=5").unwrap(), TEXT.replace("k: 10", "k: 5"));
        assert_eq!(set("sweep.classifiers.1.c=2.0").unwrap(), TEXT.replace("Svm()", "Svm(c: 2.0, )"));
        assert_eq!(set("sweep.repeats=9").unwrap(), TEXT.replace("Sweep(", "Sweep(repeats: 9, "));
        assert_eq!(set("seed=2").unwrap(), TEXT.replace("seed: 1", "seed: 2"));
    }

    #[test]
    fn a_setting_that_leads_nowhere_says_so() {
        assert_eq!(set("swep.n=5").unwrap_err(), "--set swep.n: no node is called `swep`\nhelp: did you mean `sweep`?");
        assert_eq!(set("sweep.n").unwrap_err(), "expected `NODE.PARAMETER=VALUE`, found `sweep.n`");
        assert!(set("sweep.a.b.c=1").unwrap_err().ends_with("set `sweep.a` as a whole: --set 'sweep.a=(b: (c: 1))'"));
        assert_eq!(set("sweep.n=(1").unwrap_err(), "`(1` is not a value: expected `,` or `)`, found the end of the text");
        assert!(
            set("sweep.n=../data").unwrap_err().ends_with("help: texts need quotes that the shell leaves: --set 'sweep.n=\"../data\"'")
        );
    }
}
