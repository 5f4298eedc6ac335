//! Feeds damaged copies of good files to a reader, and watches: no panic, no input that takes seconds, no allocation beyond a limit.
//!
//! Which copies is decided by a seed, so that what was found is found again. Where a copy makes the reader say something that it has not
//! said yet, it is kept and damaged further: the nearest thing to coverage that a stable compiler offers; `fuzz/readers.rs` has the real
//! one. By default a few thousand inputs; `FLOW_FUZZ_MINUTES=10 cargo test --release --test hostile -- --test-threads=1 NAME` goes on for
//! so long. What is found is written to the temporary folder, and its path said.

pub mod memory; // what was asked of the allocator
pub mod targets; // readers and good files

use std::collections::HashSet;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flow::digest::Digest;
use flow::random::{Draws, Stream};

pub use memory::Watched;
use targets::Target;

/// Time after which a reader hangs.
const HANGS: Duration = Duration::from_secs(20);
/// Copies that are kept to be damaged further.
const KEPT: usize = 2000;

/// Feeds a reader; stops at the first thing that may not be.
pub fn feed(target: &Target) {
    // One at a time: what is asked of the allocator is counted for the whole process.
    static ONE: Mutex<()> = Mutex::new(());
    let _one: MutexGuard<()> = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let minutes: Option<f64> = std::env::var("FLOW_FUZZ_MINUTES").ok().map(|text| text.parse().unwrap());
    let watch = Watch::start(target.name);
    let (mut kept, mut heard) = (target.seeds.clone(), HashSet::new());
    let (started, mut n) = (Instant::now(), 0);
    while minutes.map_or(n < target.inputs, |minutes| started.elapsed().as_secs_f64() < 60.0 * minutes) {
        let mut draws = Stream::new(7, target.name).at(n as u64).draws();
        // The seeds themselves come first.
        let input = target.seeds.get(n).cloned().unwrap_or_else(|| damaged(&kept, &mut draws));
        memory::begin();
        watch.begins(&input);
        let said = catch_unwind(AssertUnwindSafe(|| (target.read)(&input)));
        watch.ends();
        let largest = memory::largest();
        n += 1;
        let Ok(said) = said else { panic!("{}: input {n} panics: {}", target.name, keep(target.name, &input).display()) };
        if largest > target.at_once {
            panic!("{}: input {n} asks for {largest} bytes at once: {}", target.name, keep(target.name, &input).display());
        }
        let said: String = said.chars().filter(|c| !c.is_ascii_digit()).take(200).collect();
        if heard.insert(said) && kept.len() < KEPT && input.len() <= 1 << 18 {
            kept.push(input);
        }
    }
    let (seconds, answers) = (started.elapsed().as_secs_f64(), heard.len());
    let _ = writeln!(std::io::stderr(), "{}: {n} inputs in {seconds:.0} s, {answers} different answers, nothing found", target.name);
}

fn keep(name: &str, input: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("flow-hostile-{name}-{}", Digest::of(input).short()));
    std::fs::write(&path, input).unwrap();
    path
}

/// A thread that ends the process where an input takes too long.
///
/// It counts its own ticks, and not what a clock shows: a process that was stopped for a while does not hang.
struct Watch(Arc<(AtomicU64, Mutex<Vec<u8>>)>);

impl Watch {
    fn start(name: &str) -> Self {
        const TICK: Duration = Duration::from_millis(500);
        let state = Arc::new((AtomicU64::new(0), Mutex::new(Vec::new())));
        let (watched, name) = (Arc::downgrade(&state), name.to_string());
        std::thread::spawn(move || {
            let (mut seen, mut since) = (0, Duration::ZERO);
            while let Some(state) = watched.upgrade() {
                let now = state.0.load(Ordering::Acquire);
                since = if now == seen && now % 2 == 1 { since + TICK } else { Duration::ZERO };
                seen = now;
                if since > HANGS {
                    let path = keep(&name, &state.1.lock().unwrap());
                    let _ = writeln!(std::io::stderr(), "{name}: hangs: {}", path.display());
                    std::process::abort();
                }
                drop(state);
                std::thread::sleep(TICK);
            }
        });
        Self(state)
    }

    /// The count is odd while an input is being read.
    fn begins(&self, input: &[u8]) {
        input.clone_into(&mut self.0.1.lock().unwrap());
        self.0.0.fetch_add(1, Ordering::Release);
    }

    fn ends(&self) {
        self.0.0.fetch_add(1, Ordering::Release);
    }
}

/// A copy with one to six kinds of damage.
fn damaged(kept: &[Vec<u8>], draws: &mut Draws) -> Vec<u8> {
    let mut bytes = kept[draws.below(kept.len())].clone();
    for _ in 0..1 + draws.below(6) {
        damage(&mut bytes, &kept[draws.below(kept.len())], draws);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, other: &[u8], draws: &mut Draws) {
    const NUMBERS: [u32; 14] = [0, 1, 2, 7, 8, 127, 128, 255, 256, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
    const WORDS: [&[u8]; 8] = [b"-1", b"99999999999999999999", b"1e309", b"NaN", b"(", b"\"", b"\xff\xfe", b"\r\n"];
    let at = draws.below(bytes.len() + 1);
    let run = |draws: &mut Draws, len: usize| {
        let from = draws.below(len + 1);
        // Mostly short.
        let most = if draws.chance(0.8) { 16 } else { len };
        (from, (from + draws.below(most + 1)).min(len))
    };
    match draws.below(10) {
        0 if at < bytes.len() => bytes[at] ^= 1 << draws.below(8),
        1 if at < bytes.len() => bytes[at] = draws.below(256) as u8,
        2 | 3 => {
            let number = NUMBERS[draws.below(NUMBERS.len())];
            let n = [1, 2, 4, 8][draws.below(4)];
            let mut wide = u64::from(number).to_le_bytes()[..n].to_vec();
            if draws.chance(0.5) {
                wide.reverse();
            }
            bytes.iter_mut().skip(at).zip(wide).for_each(|(to, from)| *to = from);
        }
        4 => bytes.truncate(at),
        5 => {
            let (from, to) = run(draws, bytes.len());
            bytes.drain(from..to);
        }
        6 => {
            let (from, to) = run(draws, bytes.len());
            let copy = bytes[from..to].to_vec();
            bytes.splice(at..at, copy);
        }
        7 => {
            let (from, to) = run(draws, other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
        8 => {
            let word = WORDS[draws.below(WORDS.len())];
            let end = (at + draws.below(4)).min(bytes.len());
            bytes.splice(at..end, word.iter().copied());
        }
        _ => {
            // A number in the text.
            let digits = |b: &u8| b.is_ascii_digit();
            if let Some(from) = bytes[at.min(bytes.len())..].iter().position(digits).map(|i| i + at) {
                let to = bytes[from..].iter().position(|b| !digits(b)).map_or(bytes.len(), |i| i + from);
                let number = NUMBERS[draws.below(NUMBERS.len())].to_string();
                bytes.splice(from..to, number.bytes());
            }
        }
    }
    // Longer ones only take longer.
    bytes.truncate(1 << 20);
}
