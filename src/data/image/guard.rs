//! Decoders of others panic on some damaged files: here that becomes an error like any other.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::diagnostic::Failure;

thread_local! {
    /// Whether this thread is decoding: its panic is then told as an error, and not printed besides.
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Runs a decoder; its panic becomes an error with the same words.
pub fn guarded<T>(decode: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            if !DECODING.get() {
                others(panic);
            }
        }));
    });
    let outer = DECODING.replace(true);
    // What a decoder leaves half done goes with it.
    let done = catch_unwind(AssertUnwindSafe(decode));
    DECODING.set(outer);
    done.unwrap_or_else(|panic| Err(Failure::new(format!("the decoder gave up: {}", words(&*panic)))))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_that_panics_is_an_error_and_the_next_one_works() {
        let failure = guarded::<()>(|| panic!("row {} of 3", 4)).unwrap_err();
        assert_eq!(failure.message(), "the decoder gave up: row 4 of 3");
        assert_eq!(guarded(|| Ok(7)).unwrap(), 7);
        assert!(!DECODING.get());
    }
}
