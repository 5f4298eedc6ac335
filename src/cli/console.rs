//! What a person sees of a run: bars with rate and time left on a terminal, plain lines elsewhere.
//!
//! Human words go to standard error, results to standard output.
#![expect(clippy::print_stderr, reason = "this is the one place that prints")]

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::engine::{Event, Outcome, Status};
use crate::graph::{Graph, NodeId};

/// Prints a result.
pub(super) fn print(line: &str) {
    use std::io::Write;
    // A reader that has seen enough (`| head`) is no error.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a word to the person.
pub(super) fn say(line: &str) {
    eprintln!("{line}");
}

/// Prints what went wrong.
pub(super) fn complain(words: &str) {
    eprintln!("{words}");
}

/// Of more nodes than this only those that run are named.
const MANY: usize = 50;

/// Shows a run as it goes.
pub(super) struct Console {
    quiet: bool,
    /// Whether nodes that are reused are named one by one.
    names_reused: bool,
    bars: Option<MultiProgress>,
    running: HashMap<NodeId, Shown>,
}

/// A running node on the screen.
struct Shown {
    bar: ProgressBar,
    /// When the count began and where: a node that trains several networks counts each from the start, one that goes on from where it was.
    started: Option<(Instant, u64)>,
    done: u64,
    /// When the last plain line about its progress was printed.
    said: Instant,
}

impl Console {
    /// Chooses between bars and plain lines.
    pub fn new(quiet: bool) -> Self {
        let bars = (!quiet && std::io::stderr().is_terminal()).then(MultiProgress::new);
        Self { quiet, names_reused: true, bars, running: HashMap::new() }
    }

    /// Shows one event.
    pub fn hear(&mut self, graph: &Graph, event: &Event) {
        match event {
            Event::Started { node, reason } => {
                self.line(&format!("run    {}: {reason}", graph.node(*node).name));
                let bar = match &self.bars {
                    Some(bars) => bars.add(ProgressBar::new_spinner()),
                    None => ProgressBar::hidden(),
                };
                bar.set_prefix(graph.node(*node).name.clone());
                bar.set_style(style("{prefix:>12} {spinner} {elapsed} {msg}"));
                if self.bars.is_some() {
                    bar.enable_steady_tick(Duration::from_millis(200));
                }
                self.running.insert(*node, Shown { bar, started: None, done: 0, said: Instant::now() });
            }
            Event::Progress { node, done, total, unit, values } => self.progress(graph, *node, *done, *total, unit, values),
            Event::Note { node, line } => self.line(&format!("note   {}: {line}", graph.node(*node).name)),
            Event::Node(outcome) => self.ended(graph, outcome),
            Event::Planned { nodes } => self.names_reused = *nodes <= MANY,
            Event::Run(_) => {}
        }
    }

    fn progress(&mut self, graph: &Graph, node: NodeId, done: u64, total: u64, unit: &str, values: &[(&'static str, f64)]) {
        let Some(shown) = self.running.get_mut(&node) else { return };
        if done < shown.done {
            shown.started = None;
            shown.bar.reset_eta();
        }
        shown.done = done;
        let (started, first) = *shown.started.get_or_insert_with(|| (Instant::now(), done));
        let values: Vec<String> = values.iter().map(|(name, value)| format!("{name} {}", short(*value))).collect();
        if self.bars.is_some() {
            if shown.bar.length() != Some(total) {
                shown.bar.set_length(total);
                shown
                    .bar
                    .set_style(style(&format!("{{prefix:>12}} [{{bar:24}}] {{pos}}/{{len}} {unit}s {{per_sec}} {{eta}} left {{msg}}")));
            }
            shown.bar.set_position(done);
            shown.bar.set_message(values.join(", "));
            return;
        }
        // Plain lines: a sign of life every ten seconds, and the end.
        if shown.said.elapsed() < Duration::from_secs(10) || done == first {
            return;
        }
        shown.said = Instant::now();
        let rate = (done - first) as f64 / started.elapsed().as_secs_f64();
        let line = format!(
            "       {}: {done}/{total} {unit}s, {} per second, {} left{}{}",
            graph.node(node).name,
            short(rate),
            duration(total.saturating_sub(done) as f64 / rate),
            if values.is_empty() { "" } else { ", " },
            values.join(", ")
        );
        self.line(&line);
    }

    fn ended(&mut self, graph: &Graph, outcome: &Outcome) {
        if let Some(shown) = self.running.remove(&outcome.node) {
            shown.bar.finish_and_clear();
        }
        let name = &graph.node(outcome.node).name;
        let trouble = outcome.trouble.as_deref().unwrap_or("");
        match outcome.status {
            Status::Ran => self.line(&format!("done   {name}: {}", duration(outcome.seconds))),
            Status::Reused if self.names_reused => self.line(&format!("reuse  {name}")),
            Status::Reused => {}
            Status::Skipped => self.line(&format!("skip   {name}: {trouble}")),
            // Errors are said even to those who want quiet.
            Status::Failed => self.say_past_bars(&format!("error: `{name}` failed: {trouble}")),
        }
    }

    fn line(&self, line: &str) {
        if !self.quiet {
            self.say_past_bars(line);
        }
    }

    fn say_past_bars(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// Returns `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 60.0 => format!("{s:.0} s"),
        s if s < 3600.0 => format!("{} min {} s", s as u64 / 60, s as u64 % 60),
        s => format!("{} h {} min", s as u64 / 3600, s as u64 % 3600 / 60),
    }
}

/// Returns a moment in seconds since 1970 as `2026-11-26T07:00:00Z`.
pub(super) fn moment(seconds: f64) -> String {
    jiff::Timestamp::from_second(seconds as i64).map_or_else(|_| "at an unknown time".to_string(), |time| time.to_string())
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        v if v < 1e-3 => format!("{value:.1e}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!([0.42, 12.3, 200.0, 7500.0].map(duration), ["0.4 s", "12 s", "3 min 20 s", "2 h 5 min"]);
    }
}
