//! `--events`: one JSON object per line, in a form that is fixed.

use std::fs::File;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::engine::{Event, Status, Summary};
use crate::graph::Graph;

/// Writes events as JSON lines. A reader that goes away never breaks the run.
pub(super) struct EventLog {
    out: Option<Box<dyn Write>>,
}

impl EventLog {
    /// Opens the file, standard output for `-`, nothing for none.
    pub fn open(to: Option<&str>) -> io::Result<Self> {
        let out: Option<Box<dyn Write>> = match to {
            None => None,
            Some("-") => Some(Box::new(io::stdout())),
            Some(path) => Some(Box::new(File::create(path)?)),
        };
        Ok(Self { out })
    }

    /// Writes the event, if it is one of those that are promised.
    pub fn hear(&mut self, graph: &Graph, event: &Event) {
        let Some(out) = &mut self.out else { return };
        let Some(value) = line(graph, event) else { return };
        if writeln!(out, "{value}").and_then(|()| out.flush()).is_err() {
            self.out = None;
        }
    }
}

fn line(graph: &Graph, event: &Event) -> Option<Value> {
    match event {
        Event::Node(outcome) => {
            let node = graph.node(outcome.node);
            let mut line = json!({
                "event": "node",
                "node": node.name,
                "kind": node.stage.kind().to_lowercase(),
                "status": outcome.status.word(),
                "key": outcome.key,
                "reason": outcome.reason,
                "seconds": outcome.seconds,
                "outputs": outcome.outputs,
            });
            if let Some(trouble) = &outcome.trouble {
                line["error"] = json!(trouble);
            }
            Some(line)
        }
        Event::Progress { node, done, total, unit, values } => {
            let values: Map<String, Value> = values.iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
            Some(json!({"event": "progress", "node": graph.node(*node).name, "done": done, "total": total, "unit": unit, "values": values}))
        }
        Event::Run(summary) => Some(run_line(summary)),
        Event::Planned { .. } | Event::Started { .. } | Event::Note { .. } => None,
    }
}

fn run_line(summary: &Summary) -> Value {
    json!({
        "event": "run",
        "status": summary.status,
        "ran": summary.count(Status::Ran),
        "reused": summary.count(Status::Reused),
        "failed": summary.count(Status::Failed),
        "skipped": summary.count(Status::Skipped),
        "seconds": summary.seconds,
        "run": summary.run,
    })
}
