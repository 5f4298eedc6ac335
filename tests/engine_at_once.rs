//! The engine where several things happen at once: runs that meet in one cache, nodes that share the cores.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use flow::diagnostic::Failure;
use flow::engine::{Event, Options, Places, Status, run};
use flow::graph::{Draft, build};
use flow::stage::{Cores, Device, Io, Kind, Needs, Output, Stage};
use flow::store::Store;
use serde_json::{Value, json};

const TEXT: Kind = Kind("text");

fn store() -> (tempfile::TempDir, Arc<Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&folder.path().join("cache")).unwrap());
    (folder, store)
}

fn options(jobs: usize) -> Options {
    Options {
        jobs,
        forced: vec![],
        keep_going: true,
        device: Device::Cpu,
        gpus: vec![],
        places: Places::default(),
        interrupt: Arc::new(AtomicBool::new(false)),
    }
}

#[test]
fn two_runs_at_once_do_each_piece_of_work_once() {
    static STARTS: AtomicUsize = AtomicUsize::new(0);
    static HOLD: Mutex<()> = Mutex::new(());
    #[derive(Debug)]
    struct Slow;
    impl Stage for Slow {
        fn kind(&self) -> &'static str {
            "Slow"
        }
        fn version(&self) -> u32 {
            1
        }
        fn params(&self) -> Value {
            json!({})
        }
        fn outputs(&self) -> Vec<Output> {
            vec![Output::file("out", TEXT)]
        }
        fn run(&self, io: &Io) -> Result<(), Failure> {
            STARTS.fetch_add(1, Ordering::SeqCst);
            drop(HOLD.lock().unwrap());
            fs::write(io.output("out"), "slow").unwrap();
            Ok(())
        }
    }
    let (_folder, store) = store();
    let guard = HOLD.lock().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let sender = sender.clone();
            let root = store.root().to_path_buf();
            scope.spawn(move || {
                let store = Arc::new(Store::open(&root).unwrap());
                let graph = build("slow", 1, vec![Draft { name: "s".into(), stage: Arc::new(Slow) }], &[]).unwrap();
                let options = options(1);
                let wanted: Vec<_> = graph.ids().collect();
                let summary = run(&graph, &store, &wanted, &options, &mut |event: &Event| {
                    if let Event::Note { line, .. } = event {
                        sender.send(line.clone()).unwrap();
                    }
                });
                assert_eq!(summary.unwrap().status, "done");
            });
        }
        // The second run says whom it waits for; only then may the first go on.
        let said = receiver.recv().unwrap();
        assert!(said.starts_with("waits for "), "{said}");
        drop(guard);
    });
    assert_eq!(STARTS.load(Ordering::SeqCst), 1);
}

#[test]
fn nodes_that_want_all_cores_take_turns_and_leave_room_for_others() {
    static BUSY: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    /// Two wide ones, and a narrow one that the first wide one waits for: it can only end if the narrow one runs beside it.
    #[derive(Debug)]
    struct Worker {
        name: &'static str,
        wide: bool,
        gate: Arc<(Mutex<bool>, std::sync::Condvar)>,
    }
    impl Stage for Worker {
        fn kind(&self) -> &'static str {
            "Worker"
        }
        fn version(&self) -> u32 {
            1
        }
        fn params(&self) -> Value {
            json!({"name": self.name})
        }
        fn outputs(&self) -> Vec<Output> {
            vec![Output::file("out", TEXT)]
        }
        fn needs(&self, _: &Device) -> Needs {
            Needs { cores: if self.wide { Cores::All } else { Cores::Some(1) }, gpus: 0 }
        }
        fn run(&self, io: &Io) -> Result<(), Failure> {
            let (open, opened) = &*self.gate;
            if self.wide {
                MOST.fetch_max(BUSY.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let _open = opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap();
                BUSY.fetch_sub(1, Ordering::SeqCst);
            } else {
                *open.lock().unwrap() = true;
                opened.notify_all();
            }
            fs::write(io.output("out"), self.name).unwrap();
            Ok(())
        }
    }
    let (_folder, store) = store();
    let gate = Arc::new((Mutex::new(false), std::sync::Condvar::new()));
    let draft = |name: &'static str, wide| Draft { name: name.into(), stage: Arc::new(Worker { name, wide, gate: gate.clone() }) };
    let graph = build("workers", 1, vec![draft("a", true), draft("b", true), draft("c", false)], &[]).unwrap();
    let options = options(3);
    let wanted: Vec<_> = graph.ids().collect();
    let summary = run(&graph, &store, &wanted, &options, &mut |_: &Event| {}).unwrap();
    assert_eq!((summary.status, summary.count(Status::Ran)), ("done", 3));
    assert_eq!(MOST.load(Ordering::SeqCst), 1);
}
