//! Named places just before and after each commit, where a test lets the process die. In release builds they are nothing.
//!
//! The names are the list of all commit boundaries; `tests/` stops at every one of them.

/// Every commit boundary on the way of a request.
pub const ALL: &[&str] = &[
    "accept.before_commit",
    "accept.after_commit",
    "claim.after_commit",
    "start.before_commit",
    "chunk.before_blob",
    "chunk.after_blob",
    "chunk.before_commit",
    "chunk.after_commit",
    "merge.before_blob",
    "merge.after_blob",
    "merge.before_commit",
    "merge.after_commit",
    "cancel.before_commit",
    "cancel.after_commit",
    "settle.before_commit",
    "recover.before_commit",
];

#[cfg(debug_assertions)]
mod armed {
    use std::sync::Mutex;

    static ARMED: Mutex<Option<(String, u32)>> = Mutex::new(None);

    /// From now on the `nth` pass (1 is the next) of the named point aborts the process.
    pub fn arm(name: &str, nth: u32) {
        if let Ok(mut armed) = ARMED.lock() {
            *armed = Some((name.to_owned(), nth.max(1)));
        }
    }

    pub(crate) fn pass(name: &str) {
        let Ok(mut armed) = ARMED.lock() else { return };
        if let Some((wanted, left)) = armed.as_mut()
            && wanted == name
        {
            *left -= 1;
            if *left == 0 {
                // abort, not exit: nothing may be flushed, closed or dropped.
                std::process::abort();
            }
        }
    }
}

#[cfg(debug_assertions)]
pub use armed::arm;
#[cfg(debug_assertions)]
pub(crate) use armed::pass;

#[cfg(not(debug_assertions))]
pub(crate) fn pass(_name: &str) {}
