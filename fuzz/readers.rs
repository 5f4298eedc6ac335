//! Feeds the readers of `tests/hostile.rs` what libFuzzer makes, guided by the branches that it reaches.
//!
//! ```text
//! cargo +nightly install cargo-fuzz
//! cp Cargo.lock fuzz/
//! FLOW_FUZZ_READER=folds cargo +nightly fuzz run --sanitizer none readers fuzz/corpus/folds -- \
//!     -max_total_time=600 -rss_limit_mb=4096 -timeout=10 -max_len=65536
//! ```
//!
//! The good files of `tests/hostile_help/targets.rs`, which names the readers too, are laid into the corpus first.

#![no_main]

#[path = "../tests/hostile_help/memory.rs"]
mod memory;
#[allow(dead_code, reason = "how many inputs there are is for libFuzzer to say")]
#[path = "../tests/hostile_help/targets.rs"]
mod targets;

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use memory::Watched;
use targets::{Target, target};

#[global_allocator]
static ALLOCATOR: Watched = Watched;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FLOW_FUZZ_READER").expect("FLOW_FUZZ_READER names a reader");
    target(&name, &Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
});

fn lay_out_seeds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(TARGET.name);
    std::fs::create_dir_all(&corpus).expect("the corpus can be written");
    for (i, seed) in TARGET.seeds.iter().enumerate() {
        std::fs::write(corpus.join(format!("seed-{i:03}")), seed).expect("the corpus can be written");
    }
}

fuzz_target!(init: lay_out_seeds(), |bytes: &[u8]| {
    memory::begin();
    (TARGET.read)(bytes);
    let largest = memory::largest();
    assert!(largest <= TARGET.at_once, "{largest} bytes asked for at once: at most {} are allowed", TARGET.at_once);
});
