//! `flow init`: look at a folder of pictures, say what it holds, and write a pipeline that runs on it.

use std::fmt::Write;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::console::{print, say};
use super::exit::{Exit, Stop};
use crate::data::Survey;
use crate::diagnostic::count;

#[derive(clap::Args)]
pub(super) struct InitArguments {
    /// The folder of pictures: best one folder for each class
    pub folder: PathBuf,
    /// The pipeline to write; one that exists is left alone [default: the folder's name, with `.ron`]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Three tenths of fewer pictures are fewer than the two test images that a split asks of every class.
const FEWEST: usize = 7;

pub(super) fn init(arguments: &InitArguments) -> Result<Exit, Stop> {
    let survey = Survey::of(&arguments.folder)?;
    let root = arguments.folder.canonicalize().unwrap_or_else(|_| arguments.folder.clone());
    let name = root.file_name().map_or("pictures".to_string(), |name| name.to_string_lossy().into_owned());
    tell(&survey);
    let small: Vec<&String> = survey.classes.iter().filter(|(_, n)| **n < FEWEST).map(|(class, _)| class).collect();
    if survey.classes.len() - small.len() < 2 {
        let found = count(survey.classes.len() - small.len(), "class");
        let message = format!("{found} of at least {FEWEST} pictures: a study of classes needs two");
        return Err(Stop::wrong(format!("{message}\nhelp: put the pictures of each class into a folder named after it")));
    }
    let file = arguments.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.ron")));
    let text = pipeline(&name, &root, &survey, &small);
    let cannot = |error: std::io::Error| Stop::wrong(format!("failed to write `{}`: {error}", file.display()));
    let mut out = std::fs::File::create_new(&file).map_err(cannot)?;
    out.write_all(text.as_bytes()).map_err(cannot)?;
    say(&format!("wrote {}; next: flow run {}", file.display(), file.display()));
    Ok(Exit::Done)
}

/// Says what was found and what was left out.
fn tell(survey: &Survey) {
    let all: usize = survey.classes.values().sum();
    print(&format!("{} in {}", count(all, "picture"), count(survey.classes.len(), "class")));
    for (class, n) in &survey.classes {
        let few = if *n < FEWEST { ": too few, left out of the study" } else { "" };
        print(&format!("  {n:>7}  {class}{few}"));
    }
    if let (Some(least), Some(usual), Some(most)) = (survey.sides.first(), survey.usual_side(), survey.sides.last()) {
        print(&format!("shorter sides: {least} to {most} pixels, usually {usual}"));
    }
    if let Some((n, one)) = &survey.groups {
        print(&format!("names begin with one of {n} words such as `{one}`: patients or slides? Then pictures of one must stay together"));
    }
    let first = |paths: Vec<&Path>| paths.iter().take(3).map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ");
    let left_out = [
        (survey.odd.len(), "cannot be read", first(survey.odd.iter().map(|(path, _)| path.as_path()).collect())),
        (survey.others.len(), "not named like pictures", first(survey.others.iter().map(PathBuf::as_path).collect())),
        (survey.loose.len(), "in no folder of a class", first(survey.loose.iter().map(PathBuf::as_path).collect())),
    ];
    for (n, why, names) in left_out.into_iter().filter(|(n, ..)| *n > 0) {
        print(&format!("left out: {} {why}: {names}{}", count(n, "file"), if n > 3 { ", .." } else { "" }));
    }
    for (path, why) in survey.odd.iter().take(3) {
        print(&format!("  {}: {why}", path.display()));
    }
}

/// A text as RON writes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}

/// The pipeline's text.
fn pipeline(name: &str, root: &Path, survey: &Survey, small: &[&String]) -> String {
    let largest = survey.classes.values().max().copied().unwrap_or(0);
    // Of seven tenths that train.
    let per_class: Vec<String> =
        [1, 5, 10, 25, 50, 100, 250, 500, 1000].iter().filter(|n| **n == 1 || **n <= largest * 7 / 10).map(ToString::to_string).collect();
    let side = survey.usual_side().unwrap_or(64);
    // Multiples of the patch of 8 that two cores can train with in minutes.
    let global = (side.min(64) / 8 * 8).max(16);
    let local = (global / 2 / 8 * 8).max(8);
    let drop = match small {
        [] => String::new(),
        classes => format!(", drop: [{}]", classes.iter().map(|class| quoted(class)).collect::<Vec<_>>().join(", ")),
    };
    // What loosens a check is written only where it is needed.
    let min_test = if small.is_empty() { "" } else { ", min_test: 0" };
    let on_bad = if survey.odd.is_empty() { "" } else { ", on_bad: Skip" };
    let mut text = String::new();
    let _ = write!(
        text,
        r#"// Made by `flow init`. `flow check` reads it, `flow run` runs it, `flow plan` says what would run.
Pipeline(
    name: {name},
    seed: 1,
    nodes: {{
        // One folder for each class.
        "images": Ingest(Folder(root: {root}{on_bad})),
        // Three tenths of each class are for testing and never trained on.{groups}
        "split": Split(images: "images", labels: "images.labels", how: Stratified(test: 0.3){min_test}),

        // A representation of the training pictures, without their labels. A network of this size trains on two cores in minutes; with
        // a GPU: backbone: Xcit(variant: "small_12_p8"), preset: Paper, and weights from ImageNet through an `Import` node.
        // `Cells` turns and crops and hardly touches colour; `Light` suits pictures with an up and a down.
        "dino": Dino(
            images: "split.train",
            backbone: Xcit(dim: 128, depth: 4, heads: 4, patch: 8),
            preset: Cells, epochs: 20, batch: 32,
            augment: (base: {base}, global: {global}, local: {local}, n_local: 2),
        ),
        // With an up and a down: orientations: 1.
        "features": Features(images: "images", model: "dino.teacher", orientations: 8),
        // How many axes are best depends on the pictures and on the labels: to choose without looking at the test pictures, split
        // "split.train" once more and sweep on that, as chula.ron tells.
        "transform": Transform(features: "features", fit_on: "split.train", steps: [PcaTo(30), YeoJohnson, UnitLength]),

        // SVM, logistic regression and nearest neighbours on few labelled pictures of each class.
        "sweep": Sweep(
            features: "transform", labels: "images.labels", split: "split",
            per_class: [{per_class}], repeats: 50{drop},
        ),
        "report": Report(
            title: "How many labels are enough?", subtitle: {name},
            sweeps: ["sweep"], curves: ["dino"], images: "images", split: "split",
        ),
    }},
)
"#,
        name = quoted(name),
        root = quoted(&root.display().to_string()),
        base = global + global / 4,
        per_class = per_class.join(", "),
        groups = match &survey.groups {
            Some((n, one)) => format!(
                "\n        // Names begin with one of {n} words such as `{one}`. If these are patients or slides, list the pictures in a table with a\n        \
                 // `group` column (`Ingest(Table(..))`) and split by it: `GroupedStratified(test: 0.3)`."
            ),
            None => String::new(),
        },
    );
    text
}
