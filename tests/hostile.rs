//! Files from outside, damaged: whatever they say, nothing panics, hangs, or takes memory beyond a limit. `hostile_help` says how.

mod hostile_help;

use std::path::Path;

use hostile_help::targets::target;
use hostile_help::{Watched, feed};

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// One test for each target of this name.
macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                feed(&target(stringify!($name), Path::new(env!("CARGO_MANIFEST_DIR"))));
            }
        )*
    };
}

targets! {
    pipelines manifests lists folds tables
    npz_files npz_arrays feature_tables
    picture_files dicom_files
    checkpoint_files checkpoint_pickles
}
