//! What each node of a run is doing, and what follows when that changes.
//!
//! One thread owns all of it and decides; workers get owned values and answer by message. A node is in one of these states:
//!
//! | state | promise |
//! |---|---|
//! | `Waiting(n)` | `n` of the nodes it reads are not done |
//! | `Ready` | all it reads are done; nobody has looked at it yet, or it is held until all cores are free |
//! | `Running` | a worker has it |
//! | `Done(entry)` | its outputs are known by digest |
//! | `Ended` | it failed or was skipped; whatever reads it is skipped |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::decide::{Decider, Decision, Looked, Reason};
use super::event::{Event, Outcome, Status};
use super::room::Room;
use super::run::Options;
use super::work::{Job, Message};
use crate::diagnostic::{Failure, count};
use crate::digest::Digest;
use crate::graph::{Graph, Key, NodeId};
use crate::stage::{Ancestor, Needs};
use crate::store::{Entry, Seen, Store};

enum State {
    Waiting(usize),
    Ready,
    Running { key: Key, reason: Reason, needs: Needs },
    Done { key: Digest, entry: Arc<Entry> },
    Ended,
}

/// A run under way.
pub(super) struct Run<'a> {
    graph: &'a Graph,
    /// What the run is called on record.
    pub name: String,
    store: &'a Arc<Store>,
    decider: Decider<'a>,
    options: &'a Options,
    wanted: BTreeSet<NodeId>,
    readers: Vec<Vec<NodeId>>,
    states: BTreeMap<NodeId, State>,
    ready: BTreeSet<NodeId>,
    running: usize,
    room: Room,
    /// Ready nodes that must run and for which there is no room: looked at again once a node has ended.
    held: BTreeSet<NodeId>,
    /// Nodes that were done but whose outputs turned out damaged when somebody wanted to read them.
    damaged: BTreeMap<NodeId, Vec<String>>,
    forced: BTreeSet<NodeId>,
    seen: BTreeMap<NodeId, Vec<Arc<Seen>>>,
    pub keys: BTreeMap<NodeId, (Key, Digest)>,
    pub outcomes: BTreeMap<NodeId, Outcome>,
    environment: Arc<BTreeMap<String, String>>,
    failing: bool,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    listener: &'a mut dyn FnMut(&Event),
}

impl<'a> Run<'a> {
    /// Sets up a run in which nothing has been looked at.
    pub fn new(
        graph: &'a Graph,
        store: &'a Arc<Store>,
        wanted: &[NodeId],
        options: &'a Options,
        listener: &'a mut dyn FnMut(&Event),
        name: String,
    ) -> Self {
        let (sender, receiver) = channel();
        Self {
            graph,
            name,
            store,
            decider: Decider::new(graph, store, &options.places),
            options,
            wanted: wanted.iter().copied().collect(),
            readers: graph.readers(),
            states: BTreeMap::new(),
            ready: BTreeSet::new(),
            running: 0,
            room: Room::new(options.gpus.len()),
            held: BTreeSet::new(),
            damaged: BTreeMap::new(),
            forced: options.forced.iter().copied().collect(),
            seen: BTreeMap::new(),
            keys: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            environment: Arc::new(options.places.environment.clone()),
            failing: false,
            sender,
            receiver,
            listener,
        }
    }

    /// Brings all that is wanted, and all it reads, to an end.
    pub fn through(&mut self) {
        let wanted: Vec<NodeId> = self.wanted.iter().copied().collect();
        let needed = self.graph.closure(&wanted);
        self.tell(&Event::Planned { nodes: needed.len() });
        for id in needed {
            let inputs: BTreeSet<NodeId> = self.graph.node(id).inputs.iter().map(|e| e.from).collect();
            self.states.insert(id, State::Waiting(inputs.len()));
            if inputs.is_empty() {
                self.set_ready(id);
            }
        }
        self.loop_until_done();
    }

    /// Of a graph of thousands of nodes this takes a while to take apart, for which nobody waits: the process may end before.
    pub fn leave(self) {
        let done = (self.keys, self.states);
        std::thread::spawn(move || drop(done));
    }

    pub fn tell(&mut self, event: &Event) {
        (self.listener)(event);
    }

    fn loop_until_done(&mut self) {
        loop {
            while self.running < self.options.jobs.max(1) && self.may_start() {
                let Some(id) = self.ready.difference(&self.held).next().copied() else { break };
                self.ready.remove(&id);
                self.take_up(id);
            }
            if self.running == 0 {
                break;
            }
            // The senders outlive the loop, so this ends only with a message.
            let Ok(message) = self.receiver.recv() else { break };
            match message {
                Message::Progress { node, done, total, unit, values } => {
                    self.tell(&Event::Progress { node, done, total, unit, values });
                }
                Message::Note { node, line } => self.tell(&Event::Note { node, line }),
                Message::Finished { node, result, seconds } => self.finished(node, result, seconds),
            }
        }
    }

    fn may_start(&self) -> bool {
        !self.options.interrupt.load(Ordering::Relaxed) && (self.options.keep_going || !self.failing)
    }

    fn set_ready(&mut self, id: NodeId) {
        self.states.insert(id, State::Ready);
        self.ready.insert(id);
    }

    /// Decides about a ready node, and hands it to a worker if it must run.
    fn take_up(&mut self, id: NodeId) {
        let looked = match self.decider.look(id) {
            Ok(looked) => looked,
            Err(failure) => return self.failed(id, None, None, &failure, 0.0),
        };
        if !looked.seen.is_empty() {
            self.seen.insert(id, looked.seen.values().cloned().collect());
        }
        let key = self.decider.key(id, &looked, |from, port| self.entry(from).1.outputs[port].digest);
        let digest = key.digest();
        let decision = match self.damaged.remove(&id) {
            Some(outputs) => Decision::Run(Reason::OutputDamaged { outputs }),
            None => self.decider.decide(id, (&key, &digest), &looked, self.wanted.contains(&id), self.forced.contains(&id)),
        };
        match decision {
            Decision::Reuse(entry) => self.done(id, digest, *entry, Status::Reused, None, 0.0),
            Decision::Run(reason) => self.start(id, key.clone(), reason, looked),
        }
        self.keys.insert(id, (key, digest));
    }

    fn start(&mut self, id: NodeId, key: Key, reason: Reason, looked: Looked) {
        let node = self.graph.node(id);
        let needs = node.stage.needs(&self.options.device);
        if needs.gpus > self.options.gpus.len() {
            let message = format!("it needs {}, and this run has {}", count(needs.gpus, "GPU"), self.options.gpus.len());
            let failure = Failure::new(message).help("name those it may use with `--gpus 0,1`");
            return self.failed(id, Some(key.digest()), Some(reason), &failure, 0.0);
        }
        if !self.room.has(needs) {
            self.set_ready(id);
            self.held.insert(id);
            return;
        }
        if self.remake_damaged_inputs(id) {
            return;
        }
        self.store.forget_ahead();
        self.room.take(needs);
        self.tell(&Event::Started { node: id, reason: reason.clone() });
        let upstream = if node.stage.looks_upstream() { self.graph.closure(&[id]) } else { Vec::new() };
        let inputs = node.inputs.iter().map(|edge| (edge.role.clone(), self.entry(edge.from).1.outputs[&edge.port].clone()));
        let job = Job {
            node: id,
            stage: node.stage.clone(),
            forced: reason == Reason::Forced,
            inputs: inputs.collect(),
            sources: looked.seen,
            seed: node.seed,
            device: self.options.device.clone(),
            gpus: (needs.gpus, self.options.gpus.clone()),
            environment: self.environment.clone(),
            ancestors: upstream.iter().filter(|a| **a != id).map(|a| self.ancestor(*a)).collect(),
            run: self.name.clone(),
            producers: node.inputs.iter().map(|edge| (edge.role.clone(), self.entry(edge.from).0)).collect(),
            upstream_sources: upstream.iter().filter_map(|a| self.seen.get(a)).flatten().cloned().collect(),
            store: self.store.clone(),
            interrupt: self.options.interrupt.clone(),
            sender: self.sender.clone(),
            key: key.clone(),
        };
        self.states.insert(id, State::Running { key, reason, needs });
        self.running += 1;
        std::thread::spawn(move || job.work());
    }

    /// Sends back to work every producer whose output, wanted by `id` now, is not sound. Returns whether there was any.
    fn remake_damaged_inputs(&mut self, id: NodeId) -> bool {
        let mut again: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
        for edge in &self.graph.node(id).inputs {
            let stored = &self.entry(edge.from).1.outputs[&edge.port];
            if !self.store.holds(stored) {
                again.entry(edge.from).or_default().push(self.store.damage(&edge.port, stored));
                self.store.forget_damaged(stored);
            }
        }
        if again.is_empty() {
            return false;
        }
        for (producer, outputs) in again {
            self.damaged.insert(producer, outputs);
            // Whoever reads it and has not started waits for it once more, `id` among them.
            for reader in self.readers[producer.0].clone() {
                match self.states.get_mut(&reader) {
                    Some(State::Waiting(n)) => *n += 1,
                    Some(state @ State::Ready) => {
                        *state = State::Waiting(1);
                        self.ready.remove(&reader);
                        self.held.remove(&reader);
                    }
                    _ => {}
                }
            }
            self.set_ready(producer);
        }
        true
    }

    fn finished(&mut self, id: NodeId, result: Result<(Box<Entry>, bool), Failure>, seconds: f64) {
        self.running -= 1;
        self.held.clear();
        self.decider.look_anew();
        let Some(State::Running { key, reason, needs }) = self.states.insert(id, State::Ended) else { return };
        self.room.leave(needs);
        match result {
            Ok((entry, true)) => self.done(id, key.digest(), *entry, Status::Ran, Some(reason), seconds),
            Ok((entry, false)) => self.done(id, key.digest(), *entry, Status::Reused, None, seconds),
            Err(failure) if failure.is_interruption() => {}
            Err(failure) => self.failed(id, Some(key.digest()), Some(reason), &failure, seconds),
        }
    }

    fn done(&mut self, id: NodeId, key: Digest, entry: Entry, status: Status, reason: Option<Reason>, seconds: f64) {
        let outcome = Outcome {
            node: id,
            status,
            key: Some(key),
            reason,
            seconds,
            outputs: entry.outputs.iter().map(|(port, stored)| (port.clone(), stored.digest)).collect(),
            metrics: entry.metrics.clone(),
            trouble: None,
        };
        self.states.insert(id, State::Done { key, entry: Arc::new(entry) });
        self.end(outcome);
        for reader in self.readers[id.0].clone() {
            if let Some(State::Waiting(n)) = self.states.get_mut(&reader) {
                *n -= 1;
                if *n == 0 {
                    self.set_ready(reader);
                }
            }
        }
    }

    fn failed(&mut self, id: NodeId, key: Option<Digest>, reason: Option<Reason>, failure: &Failure, seconds: f64) {
        self.states.insert(id, State::Ended);
        self.failing = true;
        self.end(Outcome { key, reason, seconds, ..Outcome::without_outputs(id, Status::Failed, failure.to_string()) });
        let name = self.graph.node(id).name.clone();
        let mut open = self.readers[id.0].clone();
        while let Some(reader) = open.pop() {
            if matches!(self.states.get(&reader), Some(State::Waiting(_))) {
                self.states.insert(reader, State::Ended);
                self.end(Outcome::without_outputs(reader, Status::Skipped, format!("needs `{name}`, which failed")));
                open.extend(self.readers[reader.0].iter().copied());
            }
        }
    }

    fn end(&mut self, outcome: Outcome) {
        let event = Event::Node(outcome);
        self.tell(&event);
        if let Event::Node(outcome) = event {
            // A node remade because its output was damaged has two ends; the second counts.
            self.outcomes.insert(outcome.node, outcome);
        }
    }

    /// Returns the key and entry of a node that is done.
    fn entry(&self, id: NodeId) -> (Digest, &Entry) {
        match &self.states[&id] {
            State::Done { key, entry } => (*key, entry),
            _ => unreachable!("a node is looked at only when all it reads are done"),
        }
    }

    fn ancestor(&self, id: NodeId) -> Ancestor {
        let (key, entry) = self.entry(id);
        Ancestor {
            node: self.graph.node(id).name.clone(),
            kind: entry.key.kind.clone(),
            key,
            components: entry.key.components(),
            metrics: entry.metrics.clone(),
        }
    }
}
